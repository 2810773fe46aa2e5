"""Weights trained by others: read from safetensors, which hold arrays alone; pickles are converted once."""

import hashlib
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mimii_pl.core.errors import InputError, damaged, one_line
from mimii_pl.core.files import replacing
from mimii_pl.model._embedders import EMBEDDERS

HUB = re.compile(r"hf:([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
EXTRA = "run pip install 'mimii_pl[pretrained]'"


def read_weights(source: str, sha256: str | None, network: str) -> dict[str, Tensor]:
    """Read the weights of a network under the names they have here.

    Args:
        source: path of a safetensors file, or `hf:owner/repo@<commit>`: the one in a repository of the Hugging Face hub
            at a commit of 40 hexadecimal digits, which is downloaded once. `HF_HUB_OFFLINE=1` forbids the download.
        sha256: of the file; None: it is not checked.
        network: key of `EMBEDDERS`.

    Raises:
        InputError: there is no such file, it is another one than expected, or an extra is not installed.
    """
    path = _downloaded(source) if source.startswith("hf:") else Path(source).expanduser()
    if path.suffix != ".safetensors":
        stem = shlex.quote(path.stem)
        raise InputError(
            f"model.weights={source}: only safetensors are read, since other formats may execute code: "
            f"mimii convert input={shlex.quote(path.name)} network={network} output={stem}.safetensors"
        )
    if not path.is_file():
        raise InputError(f"model.weights={source}: no such file")
    if sha256 and (found := sha256_of(path)) != sha256.lower():
        raise InputError(f"model.weights={source}: its sha256 is {found}, not model.sha256={sha256}")
    with damaged(path):
        return EMBEDDERS[network].own_names(_safetensors().load_file(path))


def load_weights(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Copy weights into a network; the counters of batch norms may be missing.

    Raises:
        InputError: one is missing, unknown or of another shape.
    """
    own = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    for names, fault in ((missing, "has no"), (unknown, "has unknown"), (shapes, "has other shapes of")):
        if names:
            more = " ..." if len(names) > 3 else ""
            raise InputError(f"{source} {fault} {', '.join(names[:3])}{more}: are they of another network?")
    network.load_state_dict(state, strict=False)


def convert(*, input: str, network: str, output: str) -> Path:
    """Convert weights of torch (.pt, .pth, .bin) to safetensors; only arrays and numbers are read, no code is run.

    Args:
        input: the file.
        network: whose weights they are, a key of `EMBEDDERS`.
        output: the safetensors to write.

    Returns:
        The file that was written.

    Raises:
        InputError: the file cannot be read in this way, or its weights are not those of the network.
    """
    if network not in EMBEDDERS:
        raise InputError(f"network={network}: should be {' or '.join(EMBEDDERS)}")
    source, target = Path(input).expanduser(), Path(output).expanduser()
    if target.suffix != ".safetensors":
        raise InputError(f"output={output}: should end in .safetensors")
    theirs, settings = _arrays(source)
    for name, value in EMBEDDERS[network].settings.items():
        if (found := settings.get(name, value)) != value:
            raise InputError(f"input={input}: its cfg has {name}={found}, but network={network} is built with {value}")
    state = EMBEDDERS[network].own_names(theirs)
    load_weights(EMBEDDERS[network](), state, str(source))
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial:
        _safetensors().save_file({name: value.contiguous() for name, value in state.items()}, partial)
    print(f"{target}: {len(state)} arrays for model.network={network}; their licence is that of {source.name}")
    print(f"model.weights={target} model.sha256={sha256_of(target)}")
    return target


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _arrays(path: Path) -> tuple[dict[str, Tensor], dict[Any, Any]]:
    """Read the state dictionary in a file of torch, the file itself or the first part that is one, and its `cfg`."""
    if not path.is_file():
        raise InputError(f"input={path}: no such file")
    scalar: Any = np.float64(0).__reduce__()[0]  # numbers of numpy, which some store beside their weights
    kinds = [type(np.dtype(kind)) for kind in ("f4", "f8", "i8")]
    numbers = [(scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, *kinds]
    try:
        with torch.serialization.safe_globals(numbers):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"input={path}: not read, since it holds more than arrays ({one_line(error)[:150]})") from None
    parts = [content, *(content.values() if isinstance(content, dict) else content)]
    for part in parts:
        if isinstance(part, dict) and part and all(isinstance(value, Tensor) for value in part.values()):
            settings = content.get("cfg") if isinstance(content, dict) else None
            return {str(key): value for key, value in part.items()}, settings if isinstance(settings, dict) else {}
    raise InputError(f"input={path}: it holds no dictionary of weights")


def _downloaded(source: str) -> Path:
    match = HUB.fullmatch(source)
    if match is None:
        raise InputError(
            f"model.weights={source}: should be hf:owner/repo@<commit>, with all 40 digits of the commit, so that it "
            "is always the same file"
        )
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise InputError(f"model.weights={source} needs huggingface_hub: {EXTRA}") from None
    try:
        folder = Path(snapshot_download(match[1], revision=match[2], allow_patterns=["*.safetensors"]))
    except Exception as error:  # of the network, of the hub, or a missing repository
        raise InputError(f"model.weights={source}: not downloaded ({one_line(error)[:150]})") from None
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise InputError(f"model.weights={source}: expected one file of safetensors there, found {len(files)}")
    return files[0]


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ModuleNotFoundError:
        raise InputError(f"weights of others need safetensors: {EXTRA}") from None
    return safetensors.torch
