"""Tables that can be read: they fit the screen, labels are not cut, and a beaten first row cannot be overlooked."""

import io
from functools import cache

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from omegaconf import OmegaConf

from mimii_pl.core.config import compose
from mimii_pl.core.console import Console
from mimii_pl.core.options import flatten
from mimii_pl.report.grid import Grid
from mimii_pl.report.ranking import RecordedRun, paired_differences, rankings
from mimii_pl.report.ranking_page import drawn_map
from mimii_pl.report.ranking_tables import tables_of
from mimii_pl.report.screen import print_grid
from mimii_pl.scoring.bootstrap import Interval
from mimii_pl.scoring.scores import ClipScore, score_results
from mimii_pl.tracking.compare import side_by_side

DETECTORS = {  # overrides -> (sensitivity, distance of the classes in deviations)
    ("model=spectrum", "backend.density=ratio", "backend.per_id=false"): (0.949, 0.8),
    ("model=spectrum", "backend.k=4", "backend.metric=euclidean", "backend.pool=mean_std"): (0.94, 2.5),
    ("model=dense_ae", "model.lr=0.00012345", "training.epochs=7", "features.n_mels=77"): (0.93, 2.4),
    ("model=spectrum",): (0.92, 2.3),
    ("model=level",): (0.5, 0.8),
}
NAMES = [
    "spectrum + knn (density=ratio, pooled)",
    "spectrum + knn (pool=mean_std, k=4, metric=euclidean)",
    "dense_ae (lr=0.0001234, n_mels=77, epochs=7)",
    "spectrum + knn",
    "level",
]
FOLDER = "/measured/in/spring/of/this/year/toycar_vocoded"


def recorded(overrides, criterion, quality, *, ids=("id_01", "id_02"), clips=40):
    """A run whose classes lie so far apart; a seed of its own, so that detectors make other errors."""
    cfg = compose([*overrides, "dataset=folder", f"dataset.root={FOLDER}", "machine=ToyCar"])
    OmegaConf.resolve(cfg)
    rng = np.random.default_rng(len("".join(overrides)))
    scored = [
        ClipScore("ToyCar", one, "", f"{one}/{n}.wav", n % 2, float(quality * (n % 2) + rng.normal()))
        for one in ids
        for n in range(2 * clips)
    ]
    options = {**flatten(cfg), **cfg.choices}
    return RecordedRun(
        f"run{criterion}",
        "run",
        options,
        "lowest loss",
        score_results(scored),
        scored,
        {"sensitivity": criterion, "parameters": 1000, "macs": 5e6, "ms_per_clip": 1.5},
    )


@cache
def runs():
    return [recorded(overrides, *numbers) for overrides, numbers in DETECTORS.items()]


def shown(capsys, monkeypatch, tmp_path, width):
    monkeypatch.setenv("COLUMNS", str(width)) if width else monkeypatch.delenv("COLUMNS", raising=False)
    (ranking,) = side_by_side(runs(), [], [], resamples=200, seed=0, folder=tmp_path)
    return ranking, capsys.readouterr().out


def test_rows_and_data_have_short_names(tmp_path, monkeypatch, capsys):
    ranking, text = shown(capsys, monkeypatch, tmp_path, None)
    assert [entry.detector for entry in ranking.entries] == NAMES
    assert "ToyCar (toycar_vocoded)" in text
    assert "/measured" not in text


@pytest.mark.parametrize("width", [None, 100, 80])
def test_the_terminals_tables_fit(tmp_path, monkeypatch, capsys, width):
    _, text = shown(capsys, monkeypatch, tmp_path, width)
    table = text[: text.index("Split: protocol")]
    assert max(len(line) for line in table.splitlines()) <= (width or 100)
    assert "…" not in table
    head = next(line for line in table.splitlines() if line.split()[:1] == ["detector"])
    assert all(name in head for name in ("sensitivity", "AUC", "AUC - first")), head
    assert ("min" in head) == ("Omitted here, but in compare.csv: " not in table)
    assert ("Omitted here" in table) == (width == 80)


def test_columns_of_a_grid_go_by_name_and_never_those_that_are_kept():
    grid = Grid("t", ("name", "a", "b", "c"), [("x" * 40, "1" * 20, "2" * 20, "3" * 20)], kept=("c",))
    for width, left, missing in ((140, "abc", ""), (80, "ac", "b"), (60, "c", "a, b")):
        out = io.StringIO()
        print_grid(Console(file=out, width=width), grid, "t.csv")
        text = out.getvalue()
        assert max(map(len, text.splitlines())) <= width
        assert all((str("abc".index(head) + 1) * 20 in text) == (head in left) for head in "abc")
        assert (f"Omitted here, but in t.csv: {missing}." in text) == bool(missing)


def test_a_first_row_that_is_beaten_cannot_be_overlooked(tmp_path, monkeypatch, capsys):
    ranking, text = shown(capsys, monkeypatch, tmp_path, 100)
    assert list(ranking.better) == sorted((1, 2, 3), key=lambda place: -ranking.pairs[place, 0].difference)
    assert all(found.low > 0 for found in ranking.better.values())
    alert = "The first row is not the best: 3 rows beat it on the test clips"
    assert text.index(alert) < text.index("ToyCar (toycar_vocoded)")
    files = {kind: (tmp_path / f"compare.{kind}").read_text() for kind in ("md", "tex", "html")}
    for name in files:
        assert alert in files[name]
    assert files["md"].count("| ▲ ") == files["html"].count('<tr class="pointed"><th scope="row">▲ ') == 3
    assert files["tex"].count(r"$\triangle$ ") == 6  # in the caption and in the rows
    assert all("Trust in this order" in " ".join(words.split()) for words in (text, *files.values()))
    page = files["html"]
    assert page.index("In 1 of 1 rankings the test clips contradict the first row") < page.index("<nav")


def test_a_first_row_that_is_the_best_is_left_alone():
    (ranking,) = rankings([recorded(("model=spectrum",), 0.9, 2.5), recorded(("model=level",), 0.5, 0.5)], 200, 0)
    (grid,) = tables_of([ranking], [], 200).rankings
    assert (ranking.better, grid.alert, list(grid.pointed)) == ({}, "", [])
    assert not any("▲" in cell for row in grid.rows for cell in row)


def test_a_difference_needs_the_same_clips_and_an_interval_above_0():
    def clips(shift, names="ab"):
        return [
            ClipScore("fan", "id_00", "", f"{name}{n}", n % 2, shift * (n % 2) + n % 7)
            for name in names
            for n in range(40)
        ]

    pairs = paired_differences([[clips(0)], [clips(20)], [clips(0)], [clips(20, "a")]], 100, 0, to_first=True)
    assert set(pairs) == {(1, 0), (2, 0), (3, 0)}
    assert isinstance(pairs[1, 0], Interval)
    assert pairs[1, 0].low > 0
    assert pairs[2, 0] == (0, 0, 0)
    assert pairs[3, 0] == "other test clips: 40 against 80, 40 in common"


@pytest.mark.parametrize("ids", [("id_01", "id_02"), ("a machine of a very long name", "id_02")])
def test_no_label_of_the_heat_map_is_cut(ids):
    of_backend = ("k=4", "metric=euclidean", "pool=mean_std", "limit=77", "density=difference")
    others = ("features.n_fft=2048", "training.epochs=3", "model.frames=5")
    overrides = ("model=spectrum", *(f"backend.{option}" for option in of_backend), *others)
    (ranking,) = rankings([recorded(overrides, 0.9, 2, ids=ids), recorded(("model=level",), 0.5, 1, ids=ids)], 1, 0)
    assert len(ranking.entries[0].detector) > 100
    figure = drawn_map(ranking, ids)
    (axes,) = figure.axes
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    boxes = [label.get_window_extent(renderer) for label in labels]
    assert " ".join(axes.get_yticklabels()[0].get_text().split()) == ranking.entries[0].detector
    width, height = figure.get_size_inches() * figure.dpi
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
    assert axes.get_window_extent(renderer).width / figure.dpi == pytest.approx(0.78 * 2, rel=0.01)
