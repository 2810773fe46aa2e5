"""Write a scorer as an ONNX file, and open such files with onnxruntime."""

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from mimii_pl.core.errors import InputError, one_line
from mimii_pl.deploy.graph import ScoringGraph
from mimii_pl.features import Spectral

OPSET = 20
# front end of the graph -> engine of the features
FRONT_ENDS: dict[str, Literal["torch", "nnaudio"]] = {"stft": "torch", "conv": "nnaudio"}
TIMED = 5  # calls, of which the fastest counts
WORTH = 1.5  # how many times as fast the convolution must be: its kernels make a file some megabytes larger

log = logging.getLogger(__name__)


def require_export() -> None:
    """Raise InputError if the packages of the extra are not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"an export needs ONNX ({error}): pip install 'mimii_pl[export]'") from None


def write_onnx(graph: ScoringGraph, samples: int, path: Path, front_end: str = "stft") -> None:
    """Write a graph that takes any number of clips.

    Args:
        samples: of a clip.
        front_end: a key of `FRONT_ENDS`: the transform as ONNX's operator, or as a convolution.

    Raises:
        InputError: the detector computes what an ONNX graph cannot hold.
    """
    with _engine(graph.features, front_end):
        try:
            _write(graph, (torch.zeros(2, samples), torch.zeros(2, dtype=torch.int64)), graph.outputs, path)
        except Exception as error:
            log.debug("%s", error, exc_info=True)
            reason = one_line(error.__cause__ or error)[:200]
            raise InputError(f"model={graph.detector.name} cannot be exported: {reason}") from error


def order_front_ends(features: Spectral, samples: int, folder: Path) -> list[str]:
    """Return the front ends, the better one with onnxruntime on this machine first: measured on one thread, one clip.

    Args:
        folder: for files that are removed again.
    """
    seconds = {}
    wave = np.random.default_rng(0).normal(0, 0.1, (1, samples)).astype(np.float32)
    for name in FRONT_ENDS:
        path = folder / f"{name}.onnx"
        with _engine(features, name):
            _write(features, (torch.zeros(2, samples),), ["spec"], path)
        session = open_session(path)
        path.unlink()
        times = []
        for _ in range(TIMED):
            started = time.perf_counter()
            session.run(None, {"wave": wave})
            times.append(time.perf_counter() - started)
        seconds[name] = min(times)
    return ["conv", "stft"] if WORTH * seconds["conv"] < seconds["stft"] else ["stft", "conv"]


def open_session(path: Path) -> Any:
    """Open a file with onnxruntime on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _write(module: nn.Module, inputs: tuple[torch.Tensor, ...], outputs: list[str], path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad(), quiet_onnx():
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            input_names=["wave", "machine_id"][: len(inputs)],
            output_names=outputs,
            verbose=False,
        )
    assert program is not None
    own = {id(value) for value in program.model.graph.outputs}
    for node in program.model.graph.all_nodes():
        for value in node.outputs:
            if value.name in outputs and id(value) not in own:  # of an operator of that name
                value.name = f"{value.name}_within"
    program.save(path)


@contextmanager
def _engine(features: Spectral, front_end: str) -> Iterator[None]:
    """Let features compute with the engine of a front end."""
    before, features.engine = features.engine, FRONT_ENDS[front_end]
    try:
        features.stft(torch.zeros(1, features.n_fft))  # makes the module of the engine, before it is traced
        yield
    finally:
        features.engine = before


@contextmanager
def quiet_onnx() -> Iterator[None]:
    """Silence the exporter and the quantizer, which tell how far they are, and of packages that are not needed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with open(os.devnull, "w") as no, redirect_stdout(no), redirect_stderr(no), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
