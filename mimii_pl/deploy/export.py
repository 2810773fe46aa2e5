"""`mimii export`: a finished run as a folder that scores without torch, and the same."""

import logging
import os
import shutil
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from mimii_pl.core.config import build_data
from mimii_pl.core.errors import InputError, not_written
from mimii_pl.core.files import require_writable
from mimii_pl.core.freeze import open_stored
from mimii_pl.core.run_dir import refuse_fused
from mimii_pl.core.stored_config import keep_offline
from mimii_pl.dataset import MachineSounds
from mimii_pl.deploy.folder import MODEL, MODEL_INT8, write_card, write_facts_of_model, write_program
from mimii_pl.deploy.graph import ScoringGraph
from mimii_pl.deploy.int8 import Int8Report, compare_int8, write_int8
from mimii_pl.deploy.latency import measure_onnx, measure_torch
from mimii_pl.deploy.onnx_file import FRONT_ENDS, open_session, order_front_ends, require_export, write_onnx
from mimii_pl.deploy.parity import ComparedClips, Parity, between_scores, compare_scores, gate_trials, require_parity
from mimii_pl.scoring.load_run import load_detector
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.threshold import Thresholds
from mimii_pl.tracking.registry import local_run

log = logging.getLogger(__name__)


def export(
    *,
    run: str,
    output: str = "export",
    front_end: str = "auto",
    int8: bool = False,
    max_loss: float = 0.02,
    licence: str | None = None,
    trust: Collection[str] = (),
    tracking_uri: str | None = None,
) -> Path:
    """Export a finished run as a folder: an ONNX model, its facts, a card, and a program that scores recordings.

    The model is accepted only if onnxruntime scores at least 200 held-out clips, most of them with a synthetic fault,
    as the run does; otherwise nothing is left. The recordings of the run are read for that.

    Args:
        run: a run directory, `latest`, or a registered model.
        output: folder to write; an export that is there is replaced.
        front_end: `stft` (ONNX's operator), `conv` (a convolution, for accelerators without that operator), or `auto`:
            the faster one with onnxruntime on this machine.
        int8: also write a model whose layers are in 8 bits.
        max_loss: largest share of decisions that 8 bits may change, and largest fall of the AUC of synthetic faults.
        licence: of the recordings, for the card.
        trust: packages, besides this one, whose classes the run may name.
        tracking_uri: store with the registered models.

    Returns:
        The folder.

    Raises:
        InputError: the run cannot be exported, the model does not score as the run does, or 8 bits lose too much.
    """
    require_export()
    if front_end not in ("auto", *FRONT_ENDS):
        raise InputError(f"front_end={front_end}: should be auto, {' or '.join(FRONT_ENDS)}")
    if not 0 <= max_loss <= 1:
        raise InputError(f"max_loss={max_loss:g}: a share is between 0 and 1")
    target = Path(output)
    _require_free(target)
    run_dir = local_run(run, tracking_uri)
    refuse_fused(run_dir, "Export its members one by one, and average their standardized scores")
    scorer = load_detector(run_dir, device="cpu", trust=trust)
    graph = ScoringGraph(scorer)
    if scorer.thresholds is None:
        raise InputError(f"run={run_dir} has no thresholds: it is of an earlier version. Train it again")
    data = _open_data(run_dir, trust)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as place:
        folder = Path(place, target.name)
        folder.mkdir()
        trials = gate_trials(scorer, data)
        thresholds = between_scores(scorer.thresholds, trials)
        front_end, parity = _write_model(graph, scorer, trials, thresholds, folder, front_end)
        report = _write_int8(folder, trials, thresholds, max_loss) if int8 else None
        write_program(folder)
        facts = write_facts_of_model(folder, run_dir, scorer, thresholds, parity, front_end, report)
        models = [MODEL, *([MODEL_INT8] if report else [])]
        costs: dict[str, Any] = {name: measure_onnx(folder, name) for name in models}
        costs["torch"] = measure_torch(run_dir, trust)
        write_card(folder, run_dir, facts, thresholds, parity, report, costs, licence)
        _replace(target, folder)
    print(f"{target}: scores as the run does: {parity}")
    if report:
        print(f"{target / MODEL_INT8}: {report}")
    return target


def _write_model(
    graph: ScoringGraph,
    scorer: Scorer,
    trials: list[ComparedClips],
    thresholds: Thresholds,
    folder: Path,
    front_end: str,
) -> tuple[str, Parity]:
    """Write the model with the first front end that passes the gate."""
    names = [front_end]
    if front_end == "auto":
        names = order_front_ends(scorer.features, scorer.samples, folder)
    for name in names:
        write_onnx(graph, scorer.samples, folder / MODEL, name)
        parity = compare_scores(trials, open_session(folder / MODEL), thresholds)
        if parity.passed:
            break
        log.info("front_end=%s: %s", name, parity)
    require_parity(parity, name)
    return name, parity


def _write_int8(folder: Path, trials: list[ComparedClips], thresholds: Thresholds, max_loss: float) -> Int8Report:
    layers = write_int8(folder / MODEL, folder / MODEL_INT8, trials)
    report = compare_int8(folder / MODEL_INT8, layers, trials, thresholds)
    if report.loss > max_loss:
        raise InputError(
            f"int8=true: 8 bits lose more than max_loss={max_loss:g}: {report}. Nothing was left: leave out int8, or "
            "raise max_loss"
        )
    return report


def _open_data(run_dir: Path, trust: Collection[str]) -> MachineSounds:
    """Open the recordings of a run, for the held-out clips that scores are compared on."""
    cfg = open_stored(run_dir, trust)
    keep_offline(cfg)
    data: MachineSounds = build_data(cfg)
    data.setup()
    return data


def _require_free(target: Path) -> None:
    """Raise InputError unless a folder can be written, and is missing, empty, or an export."""
    if os.path.lexists(target):
        if not target.is_dir() or target.is_symlink():
            raise InputError(f"output={target} is no folder: name another one")
        if any(target.iterdir()) and not (target / "model.json").is_file():
            raise InputError(f"output={target} holds other files: name another folder")
    require_writable(target.parent, "output=<another folder>")


def _replace(target: Path, folder: Path) -> None:
    """Put a folder in the place of an export that is there."""
    old = folder.with_name(f"{folder.name}.old")
    try:
        with suppress(FileNotFoundError):
            os.rename(target, old)
        os.rename(folder, target)
    except OSError as error:
        raise not_written(target, error, "output=<another folder>") from error
    shutil.rmtree(old, ignore_errors=True)
