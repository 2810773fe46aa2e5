"""What follows training where classes are told apart: the criterion on held-out clips, then the test clips."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from mimii_pl import _config, _run_dir
from mimii_pl.class_metrics import overall
from mimii_pl.dataset._datamodule import MachineSounds
from mimii_pl.errors import InputError
from mimii_pl.model._detector import Detector
from mimii_pl.predictions import Predictions, results_of, write_predictions
from mimii_pl.results import Result, write_results
from mimii_pl.scorer import Scorer, load

log = logging.getLogger(__name__)
CRITERION = "balanced_accuracy"  # on held-out clips: what runs are compared by


def accept(cfg: DictConfig, detector: Detector) -> None:
    """Raise InputError where this detector, or a back end, has nothing to say of classes."""
    if not detector.offers("classify"):
        raise InputError(
            f"model={cfg.choices.model} tells no classes apart: task=classification needs a classifier, such as "
            "model=simple_classifier. What is not normal is found by task=anomaly"
        )
    if cfg.backend is not None:
        raise InputError(f"backend={cfg.choices.backend} makes anomaly scores: task=classification has no use for one")


def make_scorer(cfg: DictConfig, sounds: MachineSounds, run_dir: Path) -> Scorer:
    """The run directory as users will load it."""
    device = "cpu" if cfg.trainer.accelerator == "cpu" else "auto"
    return load(run_dir, device=device, trust=[cfg.model._target_.split(".")[0], "mimii_pl"])


def validate(cfg: DictConfig, scorer: Scorer, sounds: MachineSounds, run_dir: Path) -> float:
    """Balanced accuracy on the held-out clips."""
    known = predicted(scorer, sounds, "validation").known
    return overall(known.label, known.probability)[CRITERION]


def judge(cfg: DictConfig, scorer: Scorer, sounds: MachineSounds, run_dir: Path) -> list[Result]:
    """Classify every test clip, then, and only then, read the labels; write `predictions.csv` and `results.csv`."""
    predictions = predicted(scorer, sounds, "test")
    if not len(predictions.known.files):
        log.warning("there are no test clips of a class that was learned: nothing to judge the classifier by")
    if strange := len(predictions.files) - len(predictions.known.files):
        log.warning("%d test clips are of a class never heard in training: they do not count", strange)
    write_predictions(run_dir / "predictions.csv", predictions)
    results = results_of(predictions, cfg.machine.name)
    write_results(run_dir / "results.csv", results)
    return results


def predicted(scorer: Scorer, sounds: MachineSounds, split: str) -> Predictions:
    """What the classifier says of the clips of a split."""
    waves, ids = sounds.of(split)
    rows, classes = sounds.rows(split), sounds.classes
    shares = np.empty((0, len(classes)))
    if len(rows):
        shares = scorer.classify_waves(waves, ids, f"classifying {split} clips")
    clips = [sounds.clips[row] for row in rows]
    return Predictions([str(c.path) for c in clips], [c.label for c in clips], classes, sounds.label[rows], shares)


def report(cfg: DictConfig, scorer: Scorer, results: list[Result], criterion: float, run_dir: Path) -> None:
    """Write the page and show the tables."""
    from rich.console import Console

    from mimii_pl.report import _class_tables, _efficiency
    from mimii_pl.report._class_page import write_class_report
    from mimii_pl.report._grid import to_rich

    title = f"{cfg.choices.model} on {cfg.machine.name} ({cfg.choices.dataset}), target={cfg.target}"
    caption = f"Checkpoint with the {_config.SELECTION[_config.task_of(cfg)]}; seed {cfg.seed}."
    page = write_class_report(run_dir, title=title, caption=caption)
    console = Console()
    for grid in (_class_tables.all_classes(results, title, caption), _class_tables.each_class(results)):
        console.print(to_rich(grid))
    console.print(f"balanced accuracy on held-out clips: {criterion:.3f}")
    console.print(_efficiency.lines(_run_dir.facts_of(run_dir)), highlight=False, soft_wrap=True)
    for what, path in (("report", page), ("clips", run_dir / "predictions.csv"), ("run", run_dir)):
        console.print(f"{what:>7}: {path}", soft_wrap=True)
    if cfg.trainer.get("logger"):
        console.print(" MLflow: make ui", soft_wrap=True)
