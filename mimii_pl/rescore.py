"""A finished run judged again by another back end: the same detector, data and protocol, nothing trained."""

import shutil
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mimii_pl import _config, _run_dir
from mimii_pl.errors import InputError
from mimii_pl.run import conclude, hush, open_sounds, settle

FACTS = (  # that carry over
    "labels", "samples", "checkpoint", "epochs", "parameters", "train_seconds", "seconds_per_epoch", "validation_loss",
)  # fmt: skip


def rescore(cfg: DictConfig, run_dir: Path, *, sweep_dir: Path | None = None) -> float:
    """Fit a back end on a finished run's embeddings and judge the test clips by it.

    Args:
        cfg: a composed configuration (`conf/rescore.yaml`).
        run_dir: a new run directory, complete like that of a trained run: `load` takes it.
        sweep_dir: directory of the sweep this is part of.

    Returns:
        The honest criterion, as `run.run` does.
    """
    from mimii_pl._memory import keep_freed_memory, reset_peak
    from mimii_pl.tracking._logger import start_run

    source = _run_dir.find(cfg.run, trained=True).resolve()
    facts = _run_dir.facts_of(source)
    if facts["status"] != "finished":
        raise InputError(f"run={source} is not finished: `python train.py resume={source}` goes on with it")
    if "classes" in facts:
        raise InputError(
            f"run={source} is of task=classification: back ends judge anomaly scores. Train with task=anomaly"
        )
    again = OmegaConf.load(source / "config.yaml")
    again.backend, again.trainer.logger, again.seed = cfg.backend, cfg.trainer.logger, cfg.seed
    again.report = cfg.report
    if "threshold" not in again:  # runs of before there were thresholds
        again.threshold = cfg.threshold
    again.efficiency = cfg.efficiency
    again.choices.backend, again.choices.logger = cfg.choices.backend, cfg.choices.logger
    hush()
    keep_freed_memory()
    if again.efficiency.seconds > 0:
        reset_peak()
    again = settle(again, run_dir.resolve())
    for name in (facts["checkpoint"], "features.npz", "history.csv"):
        if (source / name).is_file():
            (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, run_dir / name)
    kept = {name: facts[name] for name in FACTS if name in facts}
    _run_dir.note(run_dir, status="running", rescored_from=str(source), **kept)
    sounds = open_sounds(again)
    logger = _config.build(again.trainer.logger) if again.trainer.logger else None
    start_run(again, logger, run_dir, sweep_dir)
    return conclude(again, sounds, logger, run_dir)
