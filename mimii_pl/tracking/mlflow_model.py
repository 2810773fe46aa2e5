"""A run as a model of MLflow: what scoring needs of its directory, and a few files beside it, none of them a pickle."""

import io
import logging
import shutil
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mimii_pl import __version__
from mimii_pl.core.files import write_text
from mimii_pl.core.run_dir import scoring_files
from mimii_pl.scoring.usual_sound import SOUND_FILE

if TYPE_CHECKING:
    from mimii_pl.scoring.base_scorer import BaseScorer

MODEL_CODE = "scorer.py"
CODE = '''"""Executed by MLflow when it loads this model; mimii_pl reads the files beside it, never this one."""

from mlflow.models import set_model

from mimii_pl.tracking.run_model import RunModel

set_model(RunModel())
'''
PINNED = ("torch", "torchaudio", "numpy", "scikit-learn", "skops")  # besides mimii_pl: what scores depend on
EXAMPLE_SECONDS = 0.1  # of noise, in the input example


def own_files(run_dir: Path) -> list[str]:
    """Return the names of the files of a run that a model, or a monitor of it, is made of.

    A link is none of them: it could lead to any file of this computer.

    Raises:
        InputError: the run is not finished.
    """
    names = "run.json", *scoring_files(run_dir), SOUND_FILE
    return [name for name in names if (run_dir / name).is_file() and not (run_dir / name).is_symlink()]


def write_model(folder: Path, run_dir: Path, trust: Collection[str] = ()) -> None:
    """Write a finished run as a model of MLflow, which `RunModel` describes. No path of this computer is added to it.

    The folder is a run directory too: the model's artifact `run` is the folder itself.

    Args:
        folder: an empty one, or none yet.
        trust: packages, besides this one, whose classes the run may name, now and when MLflow loads it.
    """
    import pandas as pd
    from mlflow.models import Model
    from mlflow.pyfunc import FLAVOR_NAME, save_model

    from mimii_pl.scoring.load_run import load_run
    from mimii_pl.tracking.run_model import MODEL_OPTIONS, RUN, signature_of

    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # else it tells of every step
    scorer = load_run(run_dir, device="cpu", trust=trust)
    versions = {"mimii_pl": __version__, **{name: version(name).partition("+")[0] for name in PINNED}}
    with TemporaryDirectory() as place:
        code = Path(place, MODEL_CODE)
        write_text(code, CODE)
        save_model(
            folder,
            python_model=code,
            signature=signature_of(scorer),
            input_example=pd.DataFrame({"audio": [_example(scorer)], "machine_id": scorer.labels[:1]}),
            pip_requirements=[f"{name}=={number}" for name, number in versions.items()],
            model_config={**MODEL_OPTIONS, "trust": [trust] if isinstance(trust, str) else sorted(trust)},
        )
    model = Model.load(folder)
    model.flavors[FLAVOR_NAME] |= {
        "model_code_path": MODEL_CODE,  # MLflow writes where it lay, and reads its name alone
        "artifacts": {RUN: {"path": ".", "uri": "."}},
    }
    model.save(folder / "MLmodel")
    for name in own_files(run_dir):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(run_dir / name, folder / name)


def _example(scorer: "BaseScorer") -> bytes:
    """Make a FLAC of noise; recordings shorter than a clip are repeated."""
    import soundfile

    from mimii_pl.scoring.load_run import noise_clips

    content = io.BytesIO()
    noise = noise_clips(scorer, 1)[0, : round(EXAMPLE_SECONDS * scorer.sample_rate)]
    soundfile.write(content, noise, scorer.sample_rate, format="FLAC")
    return content.getvalue()
