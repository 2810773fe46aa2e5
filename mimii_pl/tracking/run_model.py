"""A run as a model of MLflow's Python function flavor: a frame of recordings in, a frame of scores out."""

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, Schema

from mimii_pl.core.errors import InputError
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.bulk.predictor import Decoded, Predictor
from mimii_pl.scoring.bulk.recordings import Recording
from mimii_pl.scoring.load_run import load_run

RUN = "run"  # artifact that is the run directory
# options of mlflow.pyfunc.load_model(..., model_config=...), and their defaults
MODEL_OPTIONS: dict[str, Any] = {"device": "cpu", "paths": False, "trust": []}
INPUTS = (("audio", "binary"), ("path", "string"), ("machine_id", "string"))  # columns and their types, all optional
TYPES = {"machine_id": "string", "taken_for": "string", "anomalous": "boolean", "skipped": "string"}  # others: double
PANDAS = {"string": "object", "boolean": "boolean", "double": "Float64"}  # a missing value is null in JSON
ANOMALOUS = {1: True, 0: False}  # by decision; a recording that is skipped has none


class RunModel(PythonModel):
    """A run, which MLflow loads and asks for predictions. See `signature_of` for its columns."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the run.

        Raises:
            InputError: it is damaged, or names a class that is not trusted.
        """
        options = MODEL_OPTIONS | (context.model_config or {})
        self.scorer = load_run(context.artifacts[RUN], device=options["device"], trust=options["trust"])
        self.paths = bool(options["paths"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Predict for recordings, each the content of a file, as bytes or in base64, or a path.

        A recording that cannot be used has a reason in `skipped`, and costs no other.

        Args:
            model_input: columns `audio` or `path`, and `machine_id` if the detector needs it.

        Raises:
            InputError: there is neither audio nor path in the frame, or a path where none may be opened.
        """
        if not {"audio", "path"} & set(model_input.columns):
            raise InputError(f"recordings need a column audio; the columns are: {', '.join(model_input) or 'none'}")
        if not self.paths and "path" in model_input and model_input["path"].notna().any():
            raise InputError(
                "paths are not opened, since a client of a server may have sent them: load the model with "
                'model_config={"paths": True}, or give the content of the files in the column audio'
            )
        predictor = _FramePredictor(self.scorer)
        with TemporaryDirectory(prefix="mimii-") as place:
            rows = [
                row
                for batch in _batches(model_input, self.scorer.batch_size)
                for row in predictor.predict([self._decoded(predictor, one, Path(place)) for one in batch])
            ]
        found = pd.DataFrame(rows, columns=list(predictor.columns)).drop(columns="file")
        if "decision" in found:
            found["decision"] = [ANOMALOUS.get(decision) for decision in found["decision"]]
        found = found.rename(columns={"decision": "anomalous"})
        return found.astype({name: PANDAS[TYPES.get(name, "double")] for name in found})

    def _decoded(self, predictor: "_FramePredictor", row: dict[str, Any], place: Path) -> Decoded:
        """Decode the recording of a row of the frame; `place`: a folder for its content."""
        audio, path, machine_id = (row.get(name) for name, _ in INPUTS)
        named = Recording(str(path or ""), str(machine_id or ""))
        if (audio is None) is (path is None):
            return _skipped(named, "give audio or path, and not both")
        if audio is None:
            return predictor.decode(named)
        try:
            content = base64.b64decode(audio, validate=True) if isinstance(audio, str) else bytes(audio)
        except (binascii.Error, ValueError):
            return _skipped(named, "audio is neither bytes nor base64")
        predictor.content = place / "recording"
        predictor.content.write_bytes(content)
        return predictor.decode(named._replace(path=str(predictor.content)))


class _FramePredictor(Predictor):
    """A predictor to which the path of `content`, a file of ours, tells nothing."""

    content: Path | None = None

    def named(self, recording: Recording, path: Path) -> str | None:
        if path == self.content:
            return self.scorer.machine_ids.listed(recording.machine_id) or None
        return super().named(recording, path)


def _batches(frame: pd.DataFrame, size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield rows of a frame, without the cells that are missing."""
    for start in range(0, len(frame), size):
        rows = frame.iloc[start : start + size].to_dict("records")
        yield [{str(name): value for name, value in row.items() if not pd.isna(value)} for row in rows]


def _skipped(recording: Recording, reason: str) -> Decoded:
    return Decoded(recording.path, "", -1, None, float("nan"), reason)


def signature_of(scorer: BaseScorer) -> ModelSignature:
    """Return the columns that a run takes as a model, all optional, and those that it gives.

    `audio` is the content of a file (in JSON: base64), `path` one that is read where the model was loaded with
    `model_config={"paths": True}`. What comes out has the names and meanings of the table of `mimii score`, with
    `anomalous` in place of `decision`.
    """
    names = [name.replace("decision", "anomalous") for name in Predictor(scorer).columns if name != "file"]
    inputs: list[Any] = [ColSpec(kind, name, required=False) for name, kind in INPUTS]
    outputs: list[Any] = [ColSpec(TYPES.get(name, "double"), name, required=name == "skipped") for name in names]
    return ModelSignature(Schema(inputs), Schema(outputs))
