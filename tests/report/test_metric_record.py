"""A metric is one record: added to the list, it is in every file and every table."""

import csv
import math

import numpy as np
import pytest
from omegaconf import OmegaConf

from mimii_pl.core.config import compose
from mimii_pl.core.options import flatten
from mimii_pl.core.run_dir import write_facts
from mimii_pl.report import leaderboard, repeats, tables
from mimii_pl.report.cost import COSTS
from mimii_pl.report.page import write_report
from mimii_pl.report.ranking import RecordedRun
from mimii_pl.scoring import metrics
from mimii_pl.scoring.results import write_results
from mimii_pl.scoring.scores import ClipScore, score_results, write_scores
from mimii_pl.tracking.compare import side_by_side
from mimii_pl.tracking.description import figures_of

pytestmark = pytest.mark.slow


def distance(labels, scores):
    """Difference of the means of anomalous and normal scores."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    return float(scores[labels == 1].mean() - scores[labels == 0].mean())


def missed(labels, decisions):
    return metrics.confusion(labels, decisions).fn / 4


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A sweep of two seeds evaluated with two more metrics."""
    added = (
        metrics.Metric(
            "distance", "DIST", distance, note="of the means", shown_in=metrics.EVERY_RUNS_TABLE, worst=True
        ),
        metrics.Metric("missed", "MISS", missed, kind="decisions", shown_in=metrics.EVERY_RUNS_TABLE),
    )
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, *added))
    return tmp_path, sweep(tmp_path, lambda seed, label, scale: 2.0 * label * scale)


def sweep(folder, score):
    """Write a sweep of two seeds and return its runs; `score`: (seed, label, 1 or 2 + seed) -> score of a clip."""
    recorded = []
    for seed in (0, 1):
        child = folder / f"{seed}-dense_ae-fan"
        child.mkdir()
        cfg = compose(["model=dense_ae", f"seed={seed}", f"run_dir={child}", "dataset=synthetic"])
        OmegaConf.resolve(cfg)
        (child / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
        clips = [
            ClipScore("fan", name, "", f"{name}/{n}.wav", n % 2, score(seed, n % 2, scale), n // 2 % 2)
            for name, scale in (("id_00", 1), ("id_02", 2 + seed))
            for n in range(8)
        ]
        results = score_results(clips)
        write_results(child / "results.csv", results)
        write_scores(child / "scores.csv", [clip._replace(decision=-1) for clip in clips])  # no thresholds.json
        write_facts(child, status="finished", sensitivity=0.5, **dict.fromkeys(COSTS, 1.0))
        options = {**flatten(cfg), **cfg.choices}
        recorded.append(RecordedRun(str(seed), "dense_ae", options, "rule", results, clips, {"sensitivity": 0.5}))
    return recorded


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_is_in_the_files_and_tables_of_a_run(runs):
    folder, (run, _) = runs
    found = {(row["id"], row["metric"]): float(row["value"]) for row in rows_of(folder / "0-dense_ae-fan/results.csv")}
    assert (found["id_00", "distance"], found["mean", "distance"], found["min", "distance"]) == (2, 3, 2)
    assert (found["id_00", "missed"], found["mean", "missed"]) == (0.5, 0.5)
    assert figures_of(run.results, {}, {})["test/distance/mean"] == 3
    assert "DIST" in tables.table_columns(run.results)
    assert "DIST: of the means" in tables.table_note(run.results)
    assert "3.000" in next(row.cells for row in tables.table_rows(run.results) if row.is_summary)
    assert "MISS" in tables.table_columns(run.results, tables.DECISIONS)


def test_it_is_in_the_tables_of_many_runs(runs, capsys, monkeypatch):
    folder, _ = runs
    monkeypatch.setenv("COLUMNS", "200")
    rows, others = leaderboard.collect(folder)
    assert {"distance", "min_distance", "missed"} <= set(leaderboard.leaderboard_columns())
    assert sorted((row["distance"], row["min_distance"], row["missed"]) for row in rows) == [(3, 2, 0.5), (4, 2, 0.5)]
    lines = repeats.summarise(rows)
    assert (lines[0]["distance"], lines[0]["min_distance"]) == (3.5, 2)
    assert {"distance", "distance_std", "missed"} <= set(repeats.summary_columns(lines))
    leaderboard.show_leaderboard(rows, others, folder, lines)
    shown = capsys.readouterr().out
    assert all(head in shown for head in ("DIST", "min DIST", "MISS", "3.500±.707"))


def test_it_is_in_a_comparison(runs, tmp_path):
    (ranking,) = side_by_side(runs[1], [], [], resamples=1, seed=0, folder=tmp_path / "out")
    assert (ranking.entries[0].means["distance"], ranking.entries[0].means["min_distance"]) == (3.5, 2)
    (row,) = rows_of(tmp_path / "out" / "compare.csv")
    assert (row["distance"], row["min_distance"], row["missed"]) == ("3.5", "2.0", "0.5")
    assert "| DIST | min AUC | min DIST | MISS |" in (tmp_path / "out" / "compare.md").read_text()


# --- a metric that can be negative and depends on the values of the scores --------------------------------------------
def d_prime(labels, scores):
    labels, scores = metrics.checked(labels, scores)
    normal, anomalous = scores[labels == 0], scores[labels == 1]
    if not len(normal) or not len(anomalous):
        return metrics.UNDEFINED
    return float((anomalous.mean() - normal.mean()) / np.sqrt((normal.var() + anomalous.var()) / 2 + 1))


def add_d_prime(monkeypatch, **options):
    record = metrics.Metric("d_prime", "d'", d_prime, of_ranks=False, signed=True, **options)
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, record))


@pytest.mark.parametrize("infinite", [False, True])
def test_a_signed_metric_of_values(tmp_path, monkeypatch, capsys, infinite):
    monkeypatch.setenv("COLUMNS", "200")
    add_d_prime(monkeypatch, shown_in=metrics.EVERY_RUNS_TABLE, worst=True)
    runs = sweep(tmp_path, lambda seed, label, scale: (math.inf if infinite else -scale) if label else 0.0)
    value = {r[1:3]: r.value for r in runs[0].results}
    assert ("hmean", "auc") in value
    assert ("hmean", "d_prime") not in value
    expected = [math.nan] * 3 if infinite else [-1, -1.5, -2]
    assert [value[id_, "d_prime"] for id_ in ("id_00", "mean", "min")] == pytest.approx(expected, nan_ok=True)
    place = tables.table_columns(runs[0].results).index("d'")
    undefined = tables.UNDEFINED_TEXT
    shown = (
        [undefined, undefined, undefined, "", undefined] if infinite else ["-1.000", "-2.000", "-1.500", "", "-2.000"]
    )
    assert [row.cells[place] for row in tables.table_rows(runs[0].results)] == shown
    assert ("-1.500" in write_report(tmp_path / "0-dense_ae-fan").read_text()) != infinite
    rows, others = leaderboard.collect(tmp_path)
    lines = repeats.summarise(rows)
    leaderboard.show_leaderboard(rows, others, tmp_path, lines)
    assert ("-1.750±.354" in capsys.readouterr().out) != infinite
    (ranking,) = side_by_side(runs, [], [], resamples=1, seed=0, folder=tmp_path / "out")
    means = [ranking.entries[0].means[name] for name in ("d_prime", "min_d_prime")]
    assert means == pytest.approx([math.nan] * 2 if infinite else [-1.75, -2.5], nan_ok=True)
    assert ("-1.750±.354" in (tmp_path / "out" / "compare.md").read_text()) != infinite


def test_by_default_only_the_run_itself_shows_a_metric(tmp_path, monkeypatch):
    columns = leaderboard.leaderboard_columns()
    add_d_prime(monkeypatch)
    (run, _) = sweep(tmp_path, lambda seed, label, scale: float(scale * label))
    assert figures_of(run.results, {}, {})["test/d_prime/mean"] == 1.5
    assert "d'" in tables.table_columns(run.results)
    assert leaderboard.leaderboard_columns() == columns


@pytest.mark.parametrize("width", [80, 140])
def test_the_leaderboard_fits_the_screen(tmp_path, monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    added = [
        metrics.Metric(f"extra_{n}", f"extra {n}", d_prime, note="of the values", shown_in=("leaderboard",), worst=True)
        for n in range(3)
    ]
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, *added))
    sweep(tmp_path, lambda seed, label, scale: float(scale * label))
    rows, others = leaderboard.collect(tmp_path)
    for row in rows:
        row["name"] = f"dense_ae (frames=5, latent=8, seed={row['run'][0]})"
        row["run"] = f"{row['run'][0]}1-{row['run'][2:]}"
        (tmp_path / row["run"]).symlink_to(f"{row['run'][0]}-{row['run'][3:]}")
    leaderboard.show_leaderboard(rows, others, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    board = lines[lines.index(next(line for line in lines if "Leaderboard" in line)) :]
    board = board[: board.index(next(line for line in board if "Cost of training" in line))]
    assert max(map(len, board)) <= width
    assert [line.split()[-1] for line in board if line.split()[:1] == ["fan"]] == ["01", "11"]
    legend = " ".join(" ".join(board).split())
    assert legend.endswith("." if width == 140 else "min extra 2, level.")
    assert ("Omitted here, but in leaderboard.csv:" in legend) == (width == 80)
    assert "…" not in legend
