"""Which criterion ranks detectors as real faults do: Spearman correlation with the test figure, and the regret.

    python benchmarks/criteria.py machine=ToyCar dataset.root=data/dcase2020   # any data set with labelled test clips
    python benchmarks/criteria.py embeddings=fan.npz                           # arrays X [N, D], id [N], abnormal [N]
    python benchmarks/criteria.py                                              # synthetic fans

Some sixty detectors: a few trainings and spectra, each with its own score and with many back ends. Every criterion is
computed from normal training clips alone; the test figure is (AUC + pAUC)/2, the mean over machine IDs. Embeddings that
are not trained are cross-validated in five folds, trained detectors are judged by their held-out clips. Regret: test
figure of the best configuration minus that of the one that the criterion chooses. All figures are kept in `table=`, by
default outputs/criteria.csv. `detectors=dB,idnn` computes some of them.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _bench import show, workplace
from scipy.stats import spearmanr

from mimii_pl.backend import BackEnd
from mimii_pl.backend.knn import KNN
from mimii_pl.backend.lof import LOF
from mimii_pl.backend.mahalanobis import Mahalanobis
from mimii_pl.core.config import build, compose
from mimii_pl.core.files import write_table
from mimii_pl.core.freeze import freeze_config
from mimii_pl.core.run_dir import read_facts
from mimii_pl.core.settings import prepare_process
from mimii_pl.dataset import ClipRows, MachineSounds
from mimii_pl.model._training_free import TrainingFree
from mimii_pl.run import build_detector, open_data
from mimii_pl.scoring.diverse import Embedded, diverse_auc
from mimii_pl.scoring.load_run import load_run
from mimii_pl.scoring.metrics import arithmetic_mean, auc, pauc
from mimii_pl.scoring.objective import other_ids_auc
from mimii_pl.scoring.pseudo_anomaly import PSEUDO_FAULTS, PseudoAnomalies
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.scoring.sensitivity import Noticed, measure_sensitivity, sensitivity_of
from mimii_pl.tracking.description import describe_run
from mimii_pl.tracking.logger import Recorder
from mimii_pl.training import train_detector

FOLDS, LIMIT = 5, 64
QUIET = ["logger=none", "trainer=cpu", "report=brief", "efficiency.seconds=0", "threads=1"]
FREE = [  # name, overrides, how windows are pooled
    ("dB", ["model=spectrum"], ("mean", "mean_std")),
    ("amplitude", ["model=spectrum", "model.scale=amplitude"], ("mean",)),
    ("log-mel", ["model=spectrum", "features=log_mel"], ("mean",)),
]
TRAINED = [
    ("level", ["model=level"], ()),
    ("dense_ae", ["model=dense_ae", "training.epochs=6"], ("mean",)),
    ("idnn", ["model=idnn", "training.epochs=3"], ("mean",)),
    ("simple_ae", ["model=simple_ae", "training.epochs=6"], ("mean",)),
]
BACK_ENDS: dict[str, Callable[..., BackEnd]] = {
    "knn": lambda **own: KNN(**own),
    "knn euclidean": lambda **own: KNN(metric="euclidean", **own),
    "knn ratio": lambda **own: KNN(density="ratio", **own),
    "mahalanobis": lambda **own: Mahalanobis(**own),
    "lof": lambda **own: LOF(**own),
}
FEW_BACK_ENDS = {"mean": ("knn", "knn ratio", "mahalanobis"), "mean_std": ("knn", "knn ratio", "knn euclidean")}


class Set(NamedTuple):
    """Embeddings of a data set: normal clips in (fitted, held-out) parts, and test clips with their labels."""

    normal: Embedded
    parts: list[tuple[np.ndarray, np.ndarray]]
    test: np.ndarray
    test_ids: np.ndarray
    labels: np.ndarray

    @property
    def pairs(self) -> list[tuple[Embedded, Embedded]]:
        """Fitted and held-out clips of each part."""
        return [(self.normal.of(fit), self.normal.of(held)) for fit, held in self.parts]


def main() -> None:
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    table, embeddings = Path(options.pop("table", "outputs/criteria.csv")), options.pop("embeddings", "")
    table.parent.mkdir(parents=True, exist_ok=True)
    names = options.pop("detectors", "").split(",")
    chosen = [detector for detector in (*FREE, *TRAINED) if names == [""] or detector[0] in names]
    torch.set_num_threads(1)
    if embeddings:
        rows = listed(of_embeddings(Path(embeddings)), table)
    else:
        overrides = [f"{key}={value}" for key, value in options.items()] or ["dataset=synthetic", "machine=fan"]
        with workplace() as place:
            rows = listed(of_recordings(chosen, overrides, Path(place)), table)
    show_criteria(rows)


def listed(rows: Iterator[dict], table: Path) -> list[dict]:
    """Print the test figure of each detector as it is known, keep all figures in a table, and return its rows."""
    kept = []
    for row in rows:
        print(f"{row['test']:.3f}  {row['detector']}", flush=True)
        kept.append(row)
        write_table(table, kept, list(dict.fromkeys(name for row in kept for name in row)))
    return kept


def show_criteria(rows: Sequence[dict]) -> None:
    """Print a line per criterion: how many detectors have it, its correlation with the test figure, its regret."""
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in ("detector", "test")]
    lines = []
    for name in names:
        known = [row for row in rows if np.isfinite(row.get(name, np.nan)) and np.isfinite(row["test"])]
        values, tests = (np.array([row[key] for row in known]) for key in (name, "test"))
        if len(known) > 2 and np.ptp(values):
            chosen = tests[values >= values.max() - 1e-9].mean()  # ties: any of them
            lines.append([name, len(known), float(spearmanr(values, tests)[0]), float(tests.max() - chosen)])
    show(f"criteria against (AUC + pAUC)/2 of {len(rows)} detectors", ["criterion", "n", "Spearman", "regret"], lines)


# --- recordings ------------------------------------------------------------------------------------------------------
def of_recordings(chosen: Sequence[tuple], overrides: Sequence[str], place: Path) -> Iterator[dict]:
    """Yield a row of figures per detector."""
    for number, (name, own, pools) in enumerate(chosen):
        folder, cache = place / f"{number}", f"dataset.cache_dir={place}/cache"
        scorer, data, loss = trained([*QUIET, *own, *overrides, cache], folder)
        is_free = isinstance(scorer.detector, TrainingFree)
        yield {"detector": name, **of_scores(scorer, data)} | ({} if is_free else {"loss": -loss})
        for pool in pools:
            backends = BACK_ENDS if is_free and pool == "mean" else FEW_BACK_ENDS[pool]
            yield from of_back_ends(f"{name} {pool}", scorer, data, pool, backends, is_free=is_free)


def trained(overrides: Sequence[str], run_dir: Path) -> tuple[Scorer, MachineSounds, float]:
    """Train a detector and load it; with its data and its validation loss."""
    cfg = freeze_config(compose([*overrides, f"run_dir={run_dir}"]), run_dir)
    prepare_process(cfg)
    (run_dir / "checkpoints").mkdir()
    data = open_data(cfg, run_dir)
    detector = build_detector(cfg, data)
    train_detector(build(cfg.trainer), detector, data, Recorder(None, run_dir, describe_run(cfg, run_dir)), run_dir)
    return load_run(run_dir, device="cpu"), data, float(read_facts(run_dir)["validation_loss"])


def of_scores(scorer: Scorer, data: MachineSounds) -> dict[str, float]:
    """Compute the criteria of a detector's own scores, on held-out clips."""
    scorer.use(None)
    clips, ids = data.of("validation")
    normal, form = scorer.score_waves(clips, ids), (data.labels, data.sample_rate, LIMIT)
    noticed = measure_sensitivity(scorer.score_waves, clips, ids, normal, *form)
    figures = of_noticed(noticed)
    if len(data.labels) > 1:
        figures["other_ids"] = other_ids_auc(scorer, clips, ids)
    test = data.rows("test")
    return {"test": figure(scorer.score_waves(*data.of("test")), data.machine_id[test], data.anomalous[test])} | figures


def of_noticed(noticed: Sequence[Noticed]) -> dict[str, float]:
    """Return the sensitivity, that of the strongest severities alone, and that of each fault."""
    first = {fault.name: fault.severities[0] for fault in PSEUDO_FAULTS}
    strongest = [entry for entry in noticed if entry.severity == first[entry.fault]]
    own = {f"  {name}": sensitivity_of([entry for entry in noticed if entry.fault == name]) for name in first}
    return {"sensitivity": sensitivity_of(noticed), "strongest severities": sensitivity_of(strongest), **own}


def of_back_ends(
    name: str, scorer: Scorer, data: MachineSounds, pool: str, backends: Sequence[str], *, is_free: bool
) -> Iterator[dict]:
    """Yield a row per back end on the embeddings of a detector."""
    scorer.use(KNN(pool=pool))
    train, held, test = (data.rows(split) for split in ("train", "validation", "test"))
    rows = np.concatenate([train, held])
    ids = data.machine_id[rows]
    parts = folds(ids) if is_free else [(np.arange(len(train)), np.arange(len(train), len(rows)))]
    tested = np.concatenate([part[1] for part in parts])  # normal clips that are scored without having been fitted
    clips, embedded = ClipRows(data.waves, rows[tested]), {}

    def embed(waves: PseudoAnomalies, numbers: np.ndarray) -> np.ndarray:
        if waves.fault not in embedded:
            embedded[waves.fault] = scorer.embed_waves(waves, numbers)
        return embedded[waves.fault]

    domains = np.array([data.clips[row].domain for row in rows])
    normal = Embedded(scorer.embed_waves(ClipRows(data.waves, rows), ids), ids, {"domain": domains})
    own = Set(normal, parts, scorer.embed_waves(*data.of("test")), data.machine_id[test], data.anomalous[test])
    nearest = diverse_nearest(own)
    for backend, per_id in product(backends, (True, False)):
        fitted = fit_parts(lambda backend=backend, per_id=per_id: BACK_ENDS[backend](per_id=per_id), own)
        scores = np.full(len(rows), np.nan)
        for (_, part), judge in zip(parts, fitted, strict=True):
            scores[part] = judge.score(normal.x[part], ids[part])

        def score(waves, numbers, text, fitted=fitted):
            x, found = embed(waves, numbers), np.empty(len(numbers))
            for (_, part), judge in zip(parts, fitted, strict=True):
                own_rows = np.isin(tested[waves.rows], part)
                found[own_rows] = judge.score(x[own_rows], numbers[own_rows])
            return found

        form = data.labels, data.sample_rate, LIMIT
        noticed = measure_sensitivity(score, clips, ids[tested], scores[tested], *form)
        figures = of_noticed(noticed) | of_embedded(own, fitted, BACK_ENDS[backend](per_id=per_id), nearest)
        yield {"detector": f"{name} + {backend}{'' if per_id else ', pooled'}", **figures}


def folds(ids: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split clips into (fitted, held-out) rows, every fifth clip of each machine ID held out in turn."""
    fold = np.empty(len(ids), int)
    for number in np.unique(ids):
        own = ids == number
        fold[own] = np.arange(own.sum()) % FOLDS
    return [(np.flatnonzero(fold != turn), np.flatnonzero(fold == turn)) for turn in range(FOLDS)]


# --- embeddings ------------------------------------------------------------------------------------------------------
def fit_parts(make: Callable[[], BackEnd], own: Set) -> list[BackEnd]:
    """Fit a back end to each part."""
    fitted = []
    for rows, _ in own.parts:
        backend = make()
        backend.fit(own.normal.x[rows], own.normal.ids[rows])
        fitted.append(backend)
    return fitted


def diverse_nearest(own: Set) -> float:
    """Compute the criterion of the embeddings alone, by their nearest neighbours."""
    return _mean_diverse(fit_parts(KNN, own), own.pairs)


def of_embedded(own: Set, fitted: Sequence[BackEnd], backend: BackEnd, nearest: float) -> dict[str, float]:
    """Compute the criteria of a back end, `diverse_nearest` given, and the test figure of it fitted on all clips."""
    pairs = own.pairs
    others = [_other_ids(judge, held) for judge, (_, held) in zip(fitted, pairs, strict=True)]
    backend.fit(own.normal.x, own.normal.ids)
    return {
        "test": figure(backend.score(own.test, own.test_ids), own.test_ids, own.labels),
        "diverse": _mean_diverse(fitted, pairs),
        "diverse, knn": nearest,
        "other_ids": arithmetic_mean(others),
    }


def _mean_diverse(judges: Sequence[BackEnd], pairs: Sequence[tuple[Embedded, Embedded]]) -> float:
    return arithmetic_mean([diverse_auc(judge, *pair) for judge, pair in zip(judges, pairs, strict=True)])


def _other_ids(judge: BackEnd, held: Embedded) -> float:
    values = []
    for number in np.unique(held.ids):
        scores = judge.score(held.x, np.full(len(held.x), number))
        values.append(auc((held.ids != number).astype(int), scores))
    return arithmetic_mean(values)


def figure(scores: np.ndarray, ids: np.ndarray, labels: np.ndarray) -> float:
    """Compute (AUC + pAUC)/2, the mean over machine IDs with both classes."""
    own = [(labels[ids == number], scores[ids == number]) for number in np.unique(ids)]
    return arithmetic_mean([(auc(*pair) + pauc(*pair)) / 2 for pair in own])


def of_embeddings(path: Path) -> Iterator[dict]:
    """Yield a row per scaling, back end and pooling of stored embeddings.

    As many normal clips as there are anomalous ones are test clips, as in the baseline of MIMII; at most 300 of the
    others are fitted per machine ID.
    """
    with np.load(path) as arrays:
        x, names, abnormal = arrays["X"].astype(np.float64), arrays["id"].astype(str), arrays["abnormal"].astype(int)
    ids = np.unique(names, return_inverse=True)[1]
    train, test = [], []
    for number in np.unique(ids):
        normal, faulty = (np.flatnonzero((ids == number) & (abnormal == label)) for label in (0, 1))
        test += [*normal[: len(faulty)], *faulty]
        train += [*normal[len(faulty) :][:300]]
    train, test = np.array(train), np.array(test)
    mean, std = x[train].mean(axis=0), x[train].std(axis=0) + 1e-9
    scaled = (x - mean) / std
    axes = np.linalg.svd(scaled[train], full_matrices=False)[2]
    views = {"z": scaled, "z, 8 axes": scaled @ axes[:8].T, "z, 30 axes": scaled @ axes[:30].T, "raw": x}
    for view, values in views.items():
        y = values.astype(np.float32)
        own = Set(Embedded(y[train], ids[train], {}), folds(ids[train]), y[test], ids[test], abnormal[test])
        nearest = diverse_nearest(own)
        for backend, per_id in product(BACK_ENDS, (True, False)):
            make = lambda backend=backend, per_id=per_id: BACK_ENDS[backend](per_id=per_id)  # noqa: E731
            name = f"{view} + {backend}{'' if per_id else ', pooled'}"
            yield {"detector": name, **of_embedded(own, fit_parts(make, own), make(), nearest)}


if __name__ == "__main__":
    main()
