"""Weights and activations in 8 bits: smaller files, and what they cost in scores and decisions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.deploy.onnx_file import open_session, quiet_onnx
from mimii_pl.deploy.parity import ComparedClips, session_scores
from mimii_pl.scoring.sensitivity import shares_below
from mimii_pl.threshold._threshold import Thresholds

CALIBRATION_CLIPS = 64
QUANTIZED = ("Conv", "Gemm", "MatMul")  # operators; norms, sums and the Fourier transform stay as they are
BATCH_OF_INT8 = 8


class Int8Report(NamedTuple):
    """Differences that 8 bits make.

    Attributes:
        layers: number of layers in 8 bits.
        correlation: of the scores with those of the run.
        decisions: share of decisions that change.
        clips: number of clips that are compared.
        sensitivity: AUC that tells clips with a fault from those without, in the run and in 8 bits.
    """

    layers: int
    correlation: float
    decisions: float
    clips: int
    sensitivity: tuple[float, float]

    @property
    def loss(self) -> float:
        """The larger of the share of changed decisions and the fall of the sensitivity."""
        return max(self.decisions, self.sensitivity[0] - self.sensitivity[1])

    def __str__(self) -> str:
        before, after = self.sensitivity
        return (
            f"{100 * self.decisions:.2g} % of {self.clips} decisions change, the AUC of synthetic faults goes from "
            f"{before:.3f} to {after:.3f}, and scores correlate by {self.correlation:.4f}"
        )


def write_int8(source: Path, target: Path, trials: list[ComparedClips]) -> int:
    """Quantize a model, calibrated on the normal clips among trials; return the number of layers in 8 bits.

    Static quantization with 8-bit weights for each channel. The front end and the first layer after it stay in floating
    point, and so does the back end.

    Raises:
        InputError: it has no layer to quantize.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_suffix(".prepared.onnx")
    calibration = _Calibration(trials, {entry.name for entry in open_session(source).get_inputs()})
    try:
        with quiet_onnx():
            quant_pre_process(source, prepared, skip_symbolic_shape=True, skip_optimization=True)  # nodes keep notes
            layers = layers_to_quantize(onnx.load(prepared))
            if not layers:
                raise InputError("int8=true: this run has no layers with weights that 8 bits would make smaller")
            quantize_static(
                prepared,
                target,
                calibration,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTIZED),
                nodes_to_quantize=layers,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
            )
    finally:
        prepared.unlink(missing_ok=True)
    return len(layers)


def layers_to_quantize(model: Any) -> list[str]:
    """Return the names of the detector's layers with weights, without the first one."""
    weights = {entry.name for entry in model.graph.initializer}
    layers = [
        node.name
        for node in model.graph.node
        if node.op_type in QUANTIZED and node.input[1] in weights and _is_of_detector(node)
    ]
    return layers[1:]


def _is_of_detector(node: Any) -> bool:
    """Return whether the layer that a node comes from, which the exporter notes, is one of the detector."""
    noted = {entry.key: entry.value for entry in node.metadata_props}
    return "'detector." in noted.get("pkg.torch.onnx.name_scopes", "")


class _Calibration:
    """Reader of the normal clips among trials for onnxruntime's calibration."""

    def __init__(self, trials: list[ComparedClips], inputs: set[str]) -> None:
        self.inputs = inputs
        self.batches = self._read(next(trial for trial in trials if trial.normal))

    def _read(self, trial: ComparedClips) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, min(len(trial.ids), CALIBRATION_CLIPS), BATCH_OF_INT8):
            rows = slice(start, min(start + BATCH_OF_INT8, CALIBRATION_CLIPS))
            feeds = {"wave": trial.waves[rows] / np.float32(FULL_SCALE), "machine_id": trial.ids[rows].astype(np.int64)}
            yield {name: feeds[name] for name in self.inputs}

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def compare_int8(path: Path, layers: int, trials: list[ComparedClips], thresholds: Thresholds) -> Int8Report:
    """Compare a quantized model with the run."""
    session = open_session(path)
    scores = [session_scores(session, trial, BATCH_OF_INT8) for trial in trials]
    pairs = list(zip(trials, scores, strict=True))
    before_after = ((thresholds.decide(one.scores, one.ids), thresholds.decide(own, one.ids)) for one, own in pairs)
    changed = sum(int((before != after).sum()) for before, after in before_after)
    count = sum(len(one.ids) for one in trials)
    before, after = np.concatenate([one.scores for one in trials]), np.concatenate(scores)
    sensitivity = _sensitivity([(one, one.scores) for one in trials]), _sensitivity(pairs)
    correlation = float(np.corrcoef(before, after)[0, 1])
    return Int8Report(layers, correlation, changed / count, count, sensitivity)


def _sensitivity(scored: list[tuple[ComparedClips, np.ndarray]]) -> float:
    """Return the mean AUC of clips with a fault against the normal clips of their machine ID, over the faults."""
    normal, scores = next((trial, scores) for trial, scores in scored if trial.normal)
    aucs = []
    for trial, faulty in scored:
        if trial.what.startswith("with "):
            below = [
                shares_below(scores[normal.ids == id_], faulty[trial.ids == id_])
                for id_ in np.unique(trial.ids)
                if (normal.ids == id_).any()
            ]
            aucs.append(float(np.concatenate(below).mean()))
    return float(np.mean(aucs))
