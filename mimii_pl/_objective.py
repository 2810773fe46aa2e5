"""What a search maximises and a sweep is ranked by: one number of held-out clips, which no test label enters."""

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from omegaconf import DictConfig

from mimii_pl import _config, _run_dir
from mimii_pl.dataset._cache import ClipRows
from mimii_pl.dataset._datamodule import MachineSounds
from mimii_pl.errors import InputError
from mimii_pl.metrics import arithmetic_mean, auc
from mimii_pl.model._detector import Detector
from mimii_pl.scorer import Clips, Scorer

GLANCE = 32  # held-out clips per machine ID that a trial is watched by while it is trained

RANKED_BY = {  # what the leaderboard says of itself
    "criterion": "the AUC of pseudo-anomalies on held-out normal clips",
    "other_ids": "the AUC of held-out normal clips of other machine IDs, presented as this one's",
    "loss": "the validation loss on held-out clips, its sign changed",
}


def accept(cfg: DictConfig, detector: Detector, sounds: MachineSounds) -> None:
    """Raise InputError where the objective says nothing of this detector."""
    if cfg.get("objective") != "other_ids":
        return
    if _config.task_of(cfg) != "anomaly":
        raise InputError("objective=other_ids is of anomaly scores: task=classification has criterion and loss")
    if len(sounds.labels) < 2:
        raise InputError(f"objective=other_ids needs two machine IDs at least, there is {sounds.labels[0]} alone")
    if not (detector.uses_machine_id or cfg.backend is not None):
        raise InputError(
            f"objective=other_ids: model={cfg.choices.model} scores a clip without asking which machine it is, so that "
            "another machine's clip is no anomaly to it. Use objective=criterion or loss, or a back end judging per ID"
        )


def objective(cfg: DictConfig, scorer: Scorer, sounds: MachineSounds, criterion: float, run_dir: Path) -> float:
    """The number asked for by `objective=`; higher is better.

    Args:
        criterion: the task's own, which every run has.
    """
    asked = cfg.get("objective", "criterion")
    if asked == "loss":
        return -_run_dir.facts_of(run_dir)["validation_loss"]
    return other_ids_auc(scorer, *sounds.of("validation")) if asked == "other_ids" else criterion


def standing(cfg: DictConfig, trainer: pl.Trainer, detector: Detector) -> float:
    """The objective in the midst of training: the weights as they are, `GLANCE` held-out clips per machine ID at most.

    A back end is not asked: it is fitted when training is over.
    """
    from mimii_pl import _classify, _judge

    if cfg.objective == "loss":
        return -float(trainer.callback_metrics["val/loss"])
    sounds = trainer.datamodule
    scorer = Scorer(
        detector, sounds.features, labels=sounds.labels, classes=sounds.classes if sounds.target else None,
        sample_rate=sounds.sample_rate, samples=sounds.samples, batch_size=sounds.batch_size, device=detector.device,
    )  # fmt: skip
    if sounds.target:
        return _classify.validate(cfg, scorer, sounds, Path(cfg.run_dir))
    rows = sounds.rows("validation")
    rows = rows[:: -(-len(rows) // (GLANCE * len(sounds.labels)))]
    waves, ids = ClipRows(sounds.waves, rows), sounds.machine_id[rows]
    if cfg.objective == "other_ids":
        return other_ids_auc(scorer, waves, ids)
    return _judge.faults_auc(scorer, waves, ids, scorer.score_waves(waves, ids))


def other_ids_auc(scorer: Scorer, waves: Clips, ids: np.ndarray) -> float:
    """Mean over machine IDs of the AUC of held-out clips against those of every other ID, judged as if its own."""
    own, count = scorer.score_waves(waves, ids), len(scorer.labels)
    claimed = [(ids + step) % count for step in range(1, count)]
    scores = np.concatenate([scorer.score_waves(waves, as_id, "scoring other IDs' clips") for as_id in claimed])
    claimed = np.concatenate(claimed)
    aucs = []
    for one in np.unique(ids):
        strange = scores[claimed == one]
        normal = own[ids == one]
        aucs.append(auc(np.repeat([0, 1], [len(normal), len(strange)]), np.concatenate([normal, strange])))
    return arithmetic_mean(aucs)
