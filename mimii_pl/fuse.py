"""The command `mimii fuse`: make one run of several finished ones, whose scores it averages."""

import logging
import math
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig, ListConfig, OmegaConf

from mimii_pl.core.config import build
from mimii_pl.core.errors import InputError
from mimii_pl.core.freeze import freeze_config, open_stored
from mimii_pl.core.run_dir import (
    MEMBERS,
    check_digests,
    find_run,
    read_facts,
    refuse_fused,
    run_fingerprint,
    scoring_files,
    write_digests,
    write_facts,
)
from mimii_pl.core.settings import prepare_process
from mimii_pl.core.stored_config import keep_offline, read_config, relocated
from mimii_pl.core.trusted_classes import FUSED
from mimii_pl.dataset._channels import ALL_CHANNELS
from mimii_pl.report.published import published
from mimii_pl.run import (
    build_task,
    elsewhere,
    finished_objective,
    new_recorder,
    show_results,
    write_run_page,
    written_by_us,
)
from mimii_pl.scoring.cost import write_cost
from mimii_pl.scoring.decisions import apply_thresholds, choose_thresholds
from mimii_pl.scoring.fused_scorer import FusedScorer
from mimii_pl.scoring.held_out_table import HELD_OUT_FILE, HeldOutScore, read_held_out
from mimii_pl.scoring.load_run import load_run, noise_clips
from mimii_pl.scoring.metrics import auc, metrics_of
from mimii_pl.scoring.pseudo_anomaly import PSEUDO_FAULTS
from mimii_pl.scoring.results import Result, read_results
from mimii_pl.scoring.scores import ClipScore, read_scores
from mimii_pl.scoring.sensitivity import Noticed, in_words, sensitivity_of, write_sensitivity
from mimii_pl.scoring.usual_sound import SOUND_FILE
from mimii_pl.task import Task
from mimii_pl.threshold import Thresholds

log = logging.getLogger(__name__)
Scored = ClipScore | HeldOutScore
_SAME = ("held_out", "root")  # facts that a fused run has if those of all members are equal
_SUMS = ("parameters", "train_seconds")  # facts that are sums over members


class Source(NamedTuple):
    """A finished run that is fused; `name` is that of its folder in the fused run."""

    name: str
    run_dir: Path
    weight: float
    cfg: DictConfig


def fuse(cfg: DictConfig, run_dir: Path, *, sweep_dir: Path | None = None) -> float:
    """Fuse finished runs: the score is the mean of their standardized scores. Nothing is trained, no clip is scored.

    Without `weights` each run counts by the number of its judges: six for a committee of six, else 1.

    Args:
        cfg: a composed configuration (`conf/command/fuse.yaml`).
        run_dir: a new run directory; it becomes as complete as that of a trained run, with copies of its members.
        sweep_dir: directory of the sweep that this run is part of.

    Returns:
        The objective: the sensitivity to faults in the normal clips that all members held out.
    """
    run_dir, sources = run_dir.resolve(), _sources(cfg)
    tests = [_by_clip(read_scores(source.run_dir / "scores.csv")) for source in sources]
    held_out = [_by_clip(read_held_out(source.run_dir / HELD_OUT_FILE)) for source in sources]
    _require_same_clips(sources, tests)
    fused = _fused_config(cfg, sources, run_dir)
    published(fused.get("published"))
    with written_by_us(run_dir, elsewhere(sweep_dir)):
        fused = freeze_config(fused, run_dir)
        if (objective := finished_objective(run_dir)) is not None:
            return objective
        prepare_process(fused)
        recorder = new_recorder(build(fused.trainer.logger or None), fused, run_dir, sweep_dir)
        _copy_members(sources, run_dir)
        recorder.start()
        scorer = load_run(run_dir, trust=cfg.trust)
        assert isinstance(scorer, FusedScorer)
        write_facts(run_dir, labels=scorer.labels, samples=scorer.samples, sample_rate=scorer.sample_rate)
        task = build_task(fused)
        criterion = _hold(scorer, sources, held_out, run_dir)
        results = _evaluate(scorer, task, tests, run_dir, sources[0].run_dir)
        numbers = np.arange(len(scorer.labels))
        write_cost(scorer, noise_clips(scorer, len(numbers)), numbers, run_dir, fused.efficiency.seconds)
        write_run_page(fused, task, scorer, run_dir)
        write_digests(run_dir)
        criteria = {task.criterion: criterion, "objective": criterion}
        write_facts(run_dir, status="finished", **criteria)
        recorder.finish(results, criteria)
        show_results(fused, task, results, criterion, run_dir)
    return criterion


# --- the runs that are fused -----------------------------------------------------------------------------------------
def _sources(cfg: DictConfig) -> list[Source]:
    """Find the runs, and name each by its model and back end.

    Raises:
        InputError: there are fewer than two, one cannot be fused, machine IDs differ, or the weights are wrong.
    """
    runs = [str(run) for run in ([cfg.runs] if isinstance(cfg.runs, str) else cfg.runs or ())]
    if len(runs) < 2:
        raise InputError(f"runs=[{','.join(runs)}]: name at least two finished runs: runs=[outputs/...,outputs/...]")
    weights = [1.0] * len(runs) if cfg.weights is None else _listed_weights(cfg.weights)
    if len(weights) != len(runs) or not all(map(_is_weight, weights)):
        raise InputError(f"weights={cfg.weights}: give one number above 0 for each of the {len(runs)} runs, or null")
    sources: list[Source] = []
    for run, weight in zip(runs, weights, strict=True):
        run_dir = find_run(run).resolve()
        _require_fusible(run_dir)
        stored = open_stored(run_dir, cfg.trust)
        name, others = _name(stored), Counter(source.name.partition("__")[0] for source in sources)
        if others[name]:
            name = f"{name}__{others[name] + 1}"
        sources.append(Source(name, run_dir, float(weight), stored))
    first = sources[0].run_dir
    for source in sources[1:]:
        labels, of_first = (read_facts(run_dir)["labels"] for run_dir in (source.run_dir, first))
        if labels != of_first:
            known = f"it knows {', '.join(labels)}, and run={first} {', '.join(of_first)}"
            raise InputError(f"run={source.run_dir} cannot be fused: {known}. Fuse runs with the same machine IDs")
    if cfg.weights is None:
        return [source._replace(weight=float(judge_count(source.run_dir, cfg.trust))) for source in sources]
    return sources


def judge_count(run_dir: Path, trust: Sequence[str]) -> int:
    """Count the judges of a finished run, whose mean its score is; 1 if it judges in one way only."""
    return max(1, len(load_run(run_dir, trust=trust).member_names))


def _listed_weights(weights: Any) -> list:
    return list(weights) if isinstance(weights, ListConfig) else [weights]


def _is_weight(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _name(stored: DictConfig) -> str:
    model, backend = (str(stored.choices.get(group, "none")) for group in ("model", "backend"))
    return re.sub(r"\W|__+", "_", model if backend in ("none", model) else f"{model}_{backend}", flags=re.ASCII)[:80]


def _require_fusible(run_dir: Path) -> None:
    facts = read_facts(run_dir)
    refuse_fused(run_dir, "Fuse the runs that it was made of")
    if "classes" in facts:
        raise InputError(f"run={run_dir} is a classifier (task=classification): only anomaly scores can be fused")
    if read_config(run_dir).dataset.channel == ALL_CHANNELS:
        raise InputError(f"run={run_dir} cannot be fused: its scores are fused over channels (dataset.channel=all)")
    if facts.get("status") != "finished":
        raise InputError(f"run={run_dir} is not finished: `mimii resume {shlex.quote(str(run_dir))}` continues it")


def _fused_config(cfg: DictConfig, sources: Sequence[Source], run_dir: Path) -> DictConfig:
    """Return the configuration of the first run without its detector, with the members and what the command sets."""
    plain: Any = OmegaConf.to_container(sources[0].cfg)
    for name in ("features", "model", "augmentation", "sweep", "best", "experiment"):
        plain.pop(name, None)
        plain["choices"].pop(name, None)
    fused = relocated(plain, run_dir)
    keep_offline(fused)
    fused.backend, fused.trainer.logger = None, cfg.trainer.logger
    if "threshold" in cfg:  # else that of the first run
        fused.threshold, fused.choices.threshold = cfg.threshold, cfg.choices.threshold
    fused.report, fused.efficiency, fused.objective = cfg.report, cfg.efficiency, "criterion"
    fused.choices.update({"model": FUSED, "backend": "none"})
    fused.choices.logger = cfg.choices.logger
    contents = {source.name: run_fingerprint(source.run_dir)[:16] for source in sources}
    members = {source.name: {"weight": source.weight, "content": contents[source.name]} for source in sources}
    fused[FUSED] = {"members": members, "soft": True}
    return fused


def _copy_members(sources: Sequence[Source], run_dir: Path) -> None:
    """Copy what scoring needs of each run, and note the names of the copies in run.json."""
    for source in sources:
        check_digests(source.run_dir)
        target = run_dir / MEMBERS / source.name
        shutil.rmtree(target, ignore_errors=True)  # of a process that was killed
        for name in ("run.json", *scoring_files(source.run_dir)):
            if (source.run_dir / name).is_symlink():
                raise InputError(f"{source.run_dir / name} is a link: not copied. Replace it by what it stands for")
            if (source.run_dir / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source.run_dir / name, target / name)
    if (sound := sources[0].run_dir / SOUND_FILE).is_file() and not sound.is_symlink():
        shutil.copy2(sound, run_dir / SOUND_FILE)
    every = [read_facts(source.run_dir) for source in sources]
    same = {name: every[0][name] for name in _SAME if all(facts.get(name, 0) == every[0].get(name) for facts in every)}
    sums = {name: sum(facts[name] for facts in every) for name in _SUMS if all(name in facts for facts in every)}
    names = [source.name for source in sources]
    write_facts(run_dir, status="running", run_dir=str(run_dir), members=names, **same, **sums)


# --- their clips -----------------------------------------------------------------------------------------------------
def _by_clip(clips: Sequence[Scored]) -> dict[tuple, Any]:
    """Return clips by machine ID, domain and name of the file, so that a data set may have moved between two runs.

    Where several clips of a machine ID have the same name, it is the whole path.
    """
    faults = [(clip.fault, clip.severity) if isinstance(clip, HeldOutScore) else () for clip in clips]
    pairs = list(zip(clips, faults, strict=True))
    short = {(*clip[:3], Path(clip.file).name, *fault): clip for clip, fault in pairs}
    return short if len(short) == len(clips) else {(*clip[:4], *fault): clip for clip, fault in pairs}


def _require_same_clips(sources: Sequence[Source], tests: Sequence[dict[tuple, ClipScore]]) -> None:
    for source, clips in zip(sources[1:], tests[1:], strict=True):
        ours, theirs = ({(key, clip.label) for key, clip in scored.items()} for scored in (tests[0], clips))
        if ours != theirs:
            raise InputError(
                f"run={source.run_dir} cannot be fused: {len(theirs - ours)} of its {len(theirs)} test clips are not "
                f"among the {len(ours)} of run={sources[0].run_dir}, and {len(ours - theirs)} of these not among its "
                "own. Fuse runs of the same data set, protocol and fold"
            )


def _hold(
    scorer: FusedScorer, sources: Sequence[Source], held_out: Sequence[dict[tuple, HeldOutScore]], run_dir: Path
) -> float:
    """Keep the scores of the normal clips that all members held out, for thresholds; return the sensitivity.

    Raises:
        InputError: there are none.
    """
    common = [key for key in held_out[0] if all(key in clips for clips in held_out[1:])]
    counts = ", ".join(
        f"{source.name} {sum(not clip.fault for clip in clips.values())}"
        for source, clips in zip(sources, held_out, strict=True)
    )
    ids, faults = _numbers(scorer, common), [held_out[0][key].fault for key in common]
    own = np.array([not fault for fault in faults], bool)
    if not own.any():
        raise InputError(
            f"runs=[...]: no normal clip was held out by all of them ({counts}), so no threshold can be chosen: fuse "
            "runs with the same protocol and seed"
        )
    log.info("thresholds rest on the %d normal clips that all members held out (%s)", own.sum(), counts)
    scores = _fused_scores(scorer, [[clips[key].score for key in common] for clips in held_out], ids)
    scorer.thresholds = Thresholds.hold(scores[own], ids[own], scorer.labels)
    severities = np.array([held_out[0][key].severity for key in common])
    noticed = []
    for fault in PSEUDO_FAULTS:
        of_fault = np.array([name == fault.name for name in faults])
        for severity in fault.severities:
            for id_ in np.unique(ids):
                healthy, ill = scores[own & (ids == id_)], scores[of_fault & (severities == severity) & (ids == id_)]
                value = auc(np.repeat([0, 1], [len(healthy), len(ill)]), np.concatenate([healthy, ill]))
                noticed.append(Noticed(fault.name, severity, fault.unit, scorer.labels[id_], len(ill), value))
    noticed = [entry for entry in noticed if entry.clips]
    if not noticed:
        return math.nan
    write_sensitivity(run_dir / "sensitivity.csv", noticed)
    write_facts(run_dir, notices=in_words(noticed))
    return sensitivity_of(noticed)


def _evaluate(
    scorer: FusedScorer, task: Task, tests: Sequence[dict[tuple, ClipScore]], run_dir: Path, first: Path
) -> list[Result]:
    """Fuse the scores of the test clips, choose thresholds, and only then read labels; `first`: the first run."""
    assert task.threshold is not None
    assert scorer.thresholds is not None
    keys = list(tests[0])
    scores = _fused_scores(scorer, [[clips[key].score for key in keys] for clips in tests], _numbers(scorer, keys))
    pairs = zip(tests[0].values(), scores, strict=True)
    fused = [clip._replace(score=float(score), decision=-1) for clip, score in pairs]
    choose_thresholds(scorer.thresholds, task.threshold, fused)
    of_level = {metric.name for metric in metrics_of("level")}
    level = [result for result in read_results(first / "results.csv") if result.metric in of_level]
    official = read_facts(first).get("official")
    return apply_thresholds(fused, scorer.thresholds, run_dir, official=official, level=level)


def _numbers(scorer: FusedScorer, keys: Sequence[tuple]) -> np.ndarray:
    """Return the machine ID numbers of clips by machine and ID, [N]."""
    numbers = {label: number for number, label in enumerate(scorer.labels)}
    return np.array([numbers.get(f"{machine}/{id_}", -1) for machine, id_, *_ in keys], int)


def _fused_scores(scorer: FusedScorer, scores: Sequence[Any], ids: np.ndarray) -> np.ndarray:
    """Fuse the scores of each member, [M, N]."""
    pairs = zip(scorer.standards, scores, strict=True)
    return scorer.fuse(np.stack([scorer.standardized(name, np.asarray(own, float), ids) for name, own in pairs]))
