"""Other thresholds for a finished run: its scores stay, its decisions and all that is made of them are new."""

import json
import logging

from omegaconf import DictConfig, OmegaConf

from mimii_pl import _config, _decisions, _run_dir
from mimii_pl._judge import CRITERION, report
from mimii_pl.errors import InputError
from mimii_pl.results import LEVEL, read_results
from mimii_pl.run import record
from mimii_pl.scorer import load
from mimii_pl.scores import read_scores
from mimii_pl.threshold._threshold import Thresholds

log = logging.getLogger(__name__)


def decide(cfg: DictConfig) -> None:
    """Choose a run's thresholds anew, in place: nothing is trained, no clip is scored.

    Args:
        cfg: a composed configuration (`conf/decide.yaml`).
    """
    run_dir = _run_dir.find(cfg.run).resolve()
    facts = _run_dir.facts_of(run_dir)
    kept = run_dir / "thresholds.json"
    if "classes" in facts:
        raise InputError(f"run={run_dir} is a classifier's: it has no thresholds to choose")
    if facts["status"] != "finished" or not kept.is_file():
        raise InputError(f"run={run_dir} is not finished, or of a version before thresholds: it has no {kept.name}")
    own = OmegaConf.load(run_dir / "config.yaml")
    own.threshold, own.choices.threshold = cfg.threshold, cfg.choices.threshold
    own.report = cfg.report
    clips, thresholds = read_scores(run_dir / "scores.csv"), Thresholds(**json.loads(kept.read_text()))
    level = [result for result in read_results(run_dir / "results.csv") if result.metric == LEVEL]
    _decisions.choose(thresholds, _config.build(cfg.threshold), clips)
    results = _decisions.decide(clips, thresholds, run_dir, official=facts.get("official"), level=level)
    _run_dir.write_text(run_dir / "config.yaml", OmegaConf.to_yaml(own))
    scorer = load(run_dir, trust=[own.model._target_.split(".")[0], "mimii_pl"])
    report(own, scorer, results, facts[CRITERION], run_dir)
    if "mlflow_run_id" not in facts:
        return
    try:
        logger = _config.build(own.trainer.logger)
        logger.continue_run(facts["mlflow_run_id"])
        record(logger, results, {CRITERION: facts[CRITERION]}, run_dir)
    except InputError as error:
        log.warning("the run directory is as new; MLflow was not told: %s", error)
