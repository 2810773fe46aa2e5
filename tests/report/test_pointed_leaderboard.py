"""The leaderboard of a sweep: short names, and rows that beat the first are pointed at with their intervals."""

import csv

import numpy as np
import pytest
from omegaconf import OmegaConf

from mimii_pl.core.config import compose
from mimii_pl.core.files import write_table
from mimii_pl.core.run_dir import write_facts
from mimii_pl.report.leaderboard import collect, leaderboard_columns, show_leaderboard
from mimii_pl.scoring.results import write_results
from mimii_pl.scoring.scores import ClipScore, score_results, write_scores

RUNS = [  # overrides, sensitivity, distance of the classes in deviations
    (["model=spectrum", "backend.density=ratio"], 0.946, 0.6),
    (["model=spectrum", "backend.per_id=false"], 0.938, 2.0),
    (["model=spectrum", "backend.density=ratio", "backend.per_id=false"], 0.936, 2.1),
    (["model=dense_ae", "seed=1"], 0.9, 0.6),
    (["model=dense_ae", "seed=2"], 0.91, 0.5),
]


@pytest.fixture
def sweep(tmp_path):
    """Children of a sweep on one machine, as runs leave them."""
    for number, (overrides, criterion, quality) in enumerate(RUNS):
        child = tmp_path / f"{number}-x-ToyCar"
        child.mkdir()
        cfg = compose([*overrides, "machine=ToyCar", "training.epochs=9", f"run_dir={child}"])
        OmegaConf.resolve(cfg)
        (child / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
        rng = np.random.default_rng(number)
        clips = [
            ClipScore("ToyCar", "id_01", "", f"{n}.wav", n % 2, float(quality * (n % 2) + rng.normal()))
            for n in range(160)
        ]
        write_scores(child / "scores.csv", clips)
        write_results(child / "results.csv", score_results(clips))
        write_facts(child, status="finished", epochs=9, sensitivity=criterion)
    return tmp_path


@pytest.mark.parametrize("width", [80, 100])
def test_rows_that_beat_the_first_are_pointed_at(sweep, monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    rows, others = collect(sweep)
    assert [row["name"] for row in rows] == [
        "spectrum + knn (density=ratio)",
        "spectrum + knn (pooled)",
        "spectrum + knn (density=ratio, pooled)",
        "dense_ae (seed=2)",
        "dense_ae (seed=1)",
    ]
    assert [row["detector"] for row in rows[3:]] == ["dense_ae", "dense_ae"]
    assert [row["to_first_low"] > 0 for row in rows] == [False, True, True, False, False]
    show_leaderboard(rows, others, sweep)
    text = capsys.readouterr().out
    board = text[: text.index("Cost of training")]
    assert max(map(len, board.splitlines())) <= width
    assert "The first row of ToyCar is not the best: 2 rows beat it on the test clips" in board
    assert board.index("not the best") < board.index("Leaderboard")
    assert sum(line.startswith(" ToyCar") and "▲ spectrum" in line for line in board.splitlines()) == 2
    words = " ".join(board.split())
    assert "ToyCar: Trust in this order: over these 5 rows" in words
    assert "All rows: epochs=9." in words
    write_table(sweep / "leaderboard.csv", rows, leaderboard_columns())
    with (sweep / "leaderboard.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert float(written[1]["to_first_low"]) == rows[1]["to_first_low"]
    assert written[0]["to_first_difference"] == "nan"


def test_without_scores_nothing_is_pointed_at(sweep, capsys):
    (sweep / "0-x-ToyCar" / "scores.csv").write_text("damaged")
    (sweep / "1-x-ToyCar" / "scores.csv").unlink()
    rows, others = collect(sweep)
    show_leaderboard(rows, others, sweep)
    assert "▲" not in capsys.readouterr().out
