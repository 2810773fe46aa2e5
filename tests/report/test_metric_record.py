"""A metric is one record: added to the list, it is in every file and every table."""

import csv

import numpy as np
import pytest
from omegaconf import OmegaConf

from mimii_pl.core.config import compose
from mimii_pl.core.options import flatten
from mimii_pl.core.run_dir import write_facts
from mimii_pl.report import leaderboard, repeats, tables
from mimii_pl.report.cost import COSTS
from mimii_pl.report.ranking import RecordedRun
from mimii_pl.scoring import metrics
from mimii_pl.scoring.results import write_results
from mimii_pl.scoring.scores import ClipScore, score_results
from mimii_pl.tracking.compare import side_by_side
from mimii_pl.tracking.logger import _test_metrics


def distance(labels, scores):
    """Difference of the means of anomalous and normal scores."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    return float(scores[labels == 1].mean() - scores[labels == 0].mean())


def missed(labels, decisions):
    return metrics.confusion(labels, decisions).fn / 4


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A sweep of two seeds, evaluated with two metrics more, and the same runs as MLflow has them."""
    added = (
        metrics.Metric("distance", "DIST", distance, note="of the means", worst=True),
        metrics.Metric("missed", "MISS", missed, kind="decisions"),
    )
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, *added))
    recorded = []
    for seed in (0, 1):
        child = tmp_path / f"{seed}-dense_ae-fan"
        child.mkdir()
        cfg = compose(["model=dense_ae", f"seed={seed}", f"run_dir={child}", "dataset=synthetic"])
        OmegaConf.resolve(cfg)
        (child / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
        clips = [
            ClipScore("fan", name, "", f"{name}/{n}.wav", n % 2, 2.0 * (n % 2) * scale, n // 2 % 2)
            for name, scale in (("id_00", 1), ("id_02", 2 + seed))
            for n in range(8)
        ]
        results = score_results(clips)
        write_results(child / "results.csv", results)
        write_facts(child, status="finished", pseudo_auc=0.5, **dict.fromkeys(COSTS, 1.0))
        options = {**flatten(cfg), **cfg.choices}
        recorded.append(RecordedRun(str(seed), "dense_ae", options, "rule", results, clips, {"pseudo_auc": 0.5}))
    return tmp_path, recorded


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_is_in_the_files_and_tables_of_a_run(runs):
    folder, (run, _) = runs
    found = {(row["id"], row["metric"]): float(row["value"]) for row in rows_of(folder / "0-dense_ae-fan/results.csv")}
    assert (found["id_00", "distance"], found["mean", "distance"], found["min", "distance"]) == (2, 3, 2)
    assert (found["id_00", "missed"], found["mean", "missed"]) == (0.5, 0.5)
    assert _test_metrics(run.results)["test/distance/mean"] == 3
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
