"""Scores of the clips of a run and of new ones after an update: by a new back end, or as before."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mimii_pl.backend.committee import Committee
from mimii_pl.core.foreign import file_cell, printable
from mimii_pl.dataset._channels import ALL_CHANNELS, fuse_channels
from mimii_pl.dataset._clip import Clip, split_name
from mimii_pl.live.upkeep.known import KnownClips, named_waves, owners_of, present, recording_of
from mimii_pl.live.upkeep.new_clips import NewClips
from mimii_pl.live.upkeep.refit import NEW, HeldOutClips, Refitted, oracle_weights, refit
from mimii_pl.scoring.held_out_table import HeldOutScore, HeldOutTable
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.scoring.scores import ClipScore
from mimii_pl.scoring.sensitivity import Noticed, measure_sensitivity

log = logging.getLogger(__name__)


class ScoresAfter(NamedTuple):
    """Scores after an update.

    Attributes:
        held_out: normal clips that it was not fitted to, with synthetic faults put into some; the new ones among them.
        tests: test clips, not decided yet.
        faults: score of each clip marked as a fault [M].
        noticed: synthetic faults.
        known: clips of the new run, for `embeddings.npz`; None: as before.
        weights: of the members of a committee, chosen by marked faults; None: as before.
        same_clips: whether faults were put into the held-out clips of before, all of them.
    """

    held_out: list[HeldOutScore]
    tests: list[ClipScore]
    faults: np.ndarray
    noticed: list[Noticed]
    known: KnownClips | None = None
    weights: dict[str, float] | None = None
    same_clips: bool = True


def with_same_scores(
    scorer: Scorer,
    clips: NewClips,
    scores: np.ndarray,
    old: Sequence[HeldOutScore],
    tests: list[ClipScore],
    noticed: list[Noticed],
) -> ScoresAfter:
    """Score by the detector itself, as before: there are more normal clips for thresholds, and that is all.

    Args:
        scores: of the new clips.
        old: held-out clips of before.
        noticed: synthetic faults, before.
    """
    normal = np.flatnonzero(~clips.anomalous)
    named = [_clip(clips.names[row], scorer.labels[clips.ids[row]]) for row in normal]
    rows = HeldOutTable(named, scores[normal], 0).rows
    return ScoresAfter([*old, *rows], tests, scores[clips.anomalous], noticed)


def with_new_backend(
    scorer: Scorer,
    clips: NewClips,
    tests: list[ClipScore],
    known: KnownClips,
    *,
    limit: int | None,
    criterion_clips: int | None,
) -> ScoresAfter:
    """Fit the back end of a scorer again and score all clips by it; the scorer uses the new one from now on.

    Args:
        tests: test clips, with their scores before.
        known: clips of the run.
        limit: see `refit`.
        criterion_clips: held-out clips that faults are put into, see `task.anomaly.Anomaly`.
    """
    learned, faults = clips.of(~clips.anomalous), clips.of(clips.anomalous)
    if not learned.names:
        log.info("no new clip is normal: the back end is fitted to the clips of before")
    held, there = known.split == "validation", present(known.names)
    normal = known.of(known.split == "train")
    for other in (_embedded(scorer, learned), known.of(held & ~there), known.of(held & there)):
        normal = normal.joined(other) if other.names else normal
    ids = np.array([scorer.labels.index(label) for label in normal.labels])
    refitted, weights = refit(scorer, normal, ids, limit=limit), None
    if faults.names and isinstance(refitted.backend, Committee):
        weights = _oracle(scorer, refitted, normal, ids, faults)
        told = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
        log.warning("oracle: the members are weighed by recordings marked as faults: %s", told)
        refitted = refit(scorer, normal, ids, limit=limit, weights=weights)
    scorer.use(refitted.backend)
    count = int((held & there).sum())
    rows = np.flatnonzero(np.isfinite(refitted.scores))
    named = [_clip(normal.names[row], normal.labels[row], str(normal.domains[row])) for row in rows]
    table = HeldOutTable(named, refitted.scores[rows], count)
    noticed = []
    if count:
        last = slice(len(ids) - count, None)
        into = HeldOutClips(scorer, refitted.folds[last], refitted.judges)
        form = scorer.labels, scorer.sample_rate, criterion_clips
        waves = named_waves(scorer, normal.names[last])
        noticed = measure_sensitivity(table.noting(into.score_waves), waves, ids[last], refitted.scores[last], *form)
    else:
        log.warning("no held-out recording of before is there any more: synthetic faults are not measured")
    of_tests = known.of(known.split == "test")
    again = _tests(scorer, of_tests, tests)
    files = {clip.file for clip in again}
    still = np.array([bool({file_cell(name), file_cell(recording_of(name))} & files) for name in of_tests.names], bool)
    kept = normal.of(refitted.kept | (normal.split == "validation"))
    kept = kept._replace(split=np.where(kept.split == NEW, "train", kept.split))
    scores = scorer.score_waves(faults.waves, faults.ids) if faults.names else np.empty(0)
    whole = count == held.sum()
    return ScoresAfter(table.rows, again, scores, noticed, kept.joined(of_tests.of(still)), weights, whole)


def _clip(name: str, label: str, domain: str = "") -> Clip:
    path, start = split_name(name)
    machine, id_ = label.split("/", 1)
    return Clip(path, machine, id_, domain, start=start)


def _embedded(scorer: Scorer, clips: NewClips) -> KnownClips:
    """Return new clips as those that a run knows."""
    count = len(clips.names)
    labels = [scorer.labels[number] for number in clips.ids]
    means = scorer.pass_waves(clips.waves, clips.ids, ["embedding"], "embedding new clips").embedding if count else None
    means = np.empty((0, 0), np.float32) if means is None else means
    split, domains = np.full(count, NEW, "<U10"), np.full(count, "", "<U10")
    return KnownClips(clips.names, labels, split, domains, clips.recordings, np.full(count, np.nan), means)


def _oracle(
    scorer: Scorer, refitted: Refitted, normal: KnownClips, ids: np.ndarray, faults: NewClips
) -> dict[str, float]:
    """Weigh the members of a committee by held-out normal clips and marked faults, each by its most anomalous clip."""
    assert isinstance(refitted.backend, Committee)
    columns = []
    for fold in np.unique(refitted.folds):
        rows = np.flatnonzero((refitted.folds == fold) & np.isfinite(refitted.scores))
        scorer.use(refitted.judges[fold])
        if len(rows) and refitted.backend.pool == "mean":
            judge = refitted.judges[fold]
            columns.append(judge.standardized(judge.judge(normal.means[rows], ids[rows]), ids[rows]))
        elif len(rows):
            waves = named_waves(scorer, [normal.names[row] for row in rows])
            columns.append(scorer.member_waves(waves, ids[rows]).T)
    scorer.use(refitted.backend)
    marked = scorer.member_waves(faults.waves, faults.ids).T
    strongest = [max(rows, key=lambda row: marked[:, row].mean()) for rows in faults.rows_of_sources]
    columns.append(marked[:, strongest])
    standardized = np.concatenate(columns, axis=1)
    anomalous = np.repeat([0, 1], [standardized.shape[1] - len(strongest), len(strongest)])
    return oracle_weights(refitted.backend, standardized, anomalous)


def _tests(scorer: Scorer, known: KnownClips, tests: list[ClipScore]) -> list[ClipScore]:
    """Score the test clips again; those whose embedding, or recording, is gone are named and left out."""
    assert scorer.backend is not None
    usable = np.ones(len(known.names), bool) if scorer.backend.pool == "mean" else present(known.names)
    known = known.of(usable)
    number = {label: row for row, label in enumerate(scorer.labels)}
    ids = np.array([number.get(label, -1) for label in known.labels], int)
    if scorer.backend.pool == "mean":
        scores = scorer.score_embeddings(known.means, ids)
    else:
        scores = scorer.score_waves(named_waves(scorer, known.names), ids, "scoring test clips")
    fused, first = fuse_channels(scores, owners_of(known.names, fused=scorer.channel == ALL_CHANNELS), scorer.fusion)
    found = {}
    for row, score in zip(first, fused, strict=True):
        name = known.names[row]
        found[file_cell(recording_of(name) if scorer.channel == ALL_CHANNELS else name)] = float(score)
    if gone := [clip for clip in tests if clip.file not in found]:
        log.warning("%d test clips are gone, and not scored again: %s", len(gone), printable(gone[0].file))
    return [clip._replace(score=found[clip.file], decision=-1) for clip in tests if clip.file in found]
