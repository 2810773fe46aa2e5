"""The learning curve: what is learned from and held out, what a few recordings can tell, and what is said of it."""

import csv
import math

import numpy as np
import pytest
import soundfile
from support import world

from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.report.curve_page import averaged, curve, sentence
from mimii_pl.run import run
from mimii_pl.scoring.learning_curve import CurvePoint, LearningCurve
from mimii_pl.scoring.load_run import load_detector
from mimii_pl.scoring.sensitivity import read_sensitivity, sensitivity_of


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A run on four recordings of one machine and one of another, of 2 s each."""
    folder, rng = tmp_path_factory.mktemp("few") / "recordings", np.random.default_rng(0)
    for machine, count in (("press1", 4), ("press2", 1)):
        (folder / machine).mkdir(parents=True)
        for number in range(count):
            wave = world.chord(rng, 0, anomalous=False, seconds=2)
            soundfile.write(folder / machine / f"{number}.wav", wave, world.RATE, subtype="PCM_16")
    options = "model=spectrum", "backend=knn", "dataset=folder", "protocol.test=0"
    run(world.configured(folder, *options), folder.parent / "run")
    return folder.parent / "run"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A run on 16 clips of each of two machines."""
    folder = tmp_path_factory.mktemp("many")
    root = world.write(folder / "world", train=16, test=2, seconds=0.5)
    run(world.configured(root, "model=spectrum", "backend=knn"), folder / "run")
    return folder / "run"


def opened(run_dir):
    scorer = load_detector(run_dir, device="cpu")
    data = world.data_of(world.configured(run_dir.parent / "world", "model=spectrum", "backend=knn"))
    return scorer, data


def test_a_few_recordings_are_enough_for_a_curve(few, tmp_path, capsys, caplog):
    points = curve(run=str(few), output=str(tmp_path / "c.html"), table=str(tmp_path / "c.csv"), device="cpu")
    assert "one recording of machine/press2: not part of the curve" in caplog.text
    assert {point.fold for point in points} == {0, 1, 2, 3}
    assert {point.clips for point in points} == {1, 2, 3}
    assert all(0.4 < point.sensitivity <= 1 for point in points)
    assert [point.minutes for point in points if point.fold == 0] == pytest.approx([2 / 60, 4 / 60, 6 / 60])
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))
    assert [float(row["sensitivity"]) for row in rows] == [point.sensitivity for point in points]
    said = " ".join(capsys.readouterr().out.split())
    assert "From 0.0333 to 0.100 minutes per machine ID, a doubling changed the sensitivity by" in said
    page = (tmp_path / "c.html").read_text()
    assert sentence(points) in page
    assert "Learning curve: sensitivity" in page


def test_parts_grow_within_one_another_and_no_recording_is_on_both_sides(many):
    scorer, data = opened(many)
    measured = LearningCurve(scorer, data, folds=4)
    seen = []
    fit = measured._fitted
    measured._fitted = lambda part: seen.append(part) or fit(part)
    points = measured.points()
    assert len(points) == len(seen)
    for point, part, before in zip(points, seen, [seen[0][:0], *seen], strict=False):
        assert set(before) < set(part) or point.fold != points[0].fold
        assert not set(measured.recordings[part]) & set(measured.recordings[measured.folds == point.fold])
        assert set(measured.ids[part]) == {0, 1}
    full = [point for point in points if point.share == 1]
    assert [point.clips for point in full] == [(measured.folds != point.fold).sum() for point in full]
    of_run = sensitivity_of(read_sensitivity(many / "sensitivity.csv"))
    assert np.mean([point.sensitivity for point in full]) == pytest.approx(of_run, abs=0.1)  # of other held-out clips


def test_what_a_point_says_is_what_a_back_end_fitted_to_it_finds(many):
    scorer, data = opened(many)
    measured = LearningCurve(scorer, data, folds=4)
    (*_, point) = measured._of_fold(1)
    held_out = np.flatnonzero(measured.folds == 1)
    rest = np.flatnonzero(measured.folds != 1)
    scorer.backend.fit(measured.embeddings[rest], measured.ids[rest])
    clips = data.waves[measured.rows[held_out]]
    normal = scorer.score_waves(clips, measured.ids[held_out])
    value = measured._sensitivity(lambda waves, ids, _: scorer.score_waves(waves, ids), held_out, normal)
    assert point.sensitivity == pytest.approx(value, abs=1e-6)


def made(*values, folds=5, noise=0.0):
    rng = np.random.default_rng(0)
    return [
        CurvePoint(0.5 ** (len(values) - 1 - n), 2.0**n, 2**n, 2**n, fold, value + noise * rng.standard_normal())
        for fold in range(folds)
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "noise", "verdict"),
    [
        ((0.5, 0.6, 0.7, 0.8), 0.001, "more normal sound would probably help"),
        ((0.5, 0.8, 0.8, 0.8), 0.001, "of the same kind would hardly help"),
        ((0.7, 0.7, 0.7, 0.7), 0.1, "cannot be told"),
        ((0.8, 0.75, 0.7, 0.65), 0.001, "cannot be told"),
    ],
)
def test_one_sentence_says_whether_more_would_help(values, noise, verdict):
    assert verdict in sentence(made(*values, noise=noise))


def test_folds_are_averaged_and_one_point_is_no_curve():
    amounts = averaged(made(0.5, 0.7, folds=3)[:-1])  # the last fold lacks its last point
    assert [amount.sensitivity for amount in amounts] == [0.5]
    assert "Too few clips" in sentence(made(0.5))
    assert math.isnan(averaged(made(0.5, folds=1))[0].spread)


def test_what_has_no_curve_is_said_with_the_way_out(many, tmp_path):
    root = world.write(tmp_path / "world", ids=(0,), train=3, test=1, seconds=0.5)
    run(world.configured(root, "model=simple_ae", "trainer=smoke"), tmp_path / "trained")
    with pytest.raises(InputError, match=r"is trained, .*mimii train model=committee dataset=dcase2020"):
        curve(run=str(tmp_path / "trained"), output=None, table=None)
    for wrong in ({"folds": 1}, {"folds": "x"}, {"clips": 0}):
        with pytest.raises(InputError, match="whole numbers, at least 2 folds and 1 clip"):
            curve(run=str(many), **wrong)
    assert compose(name="command/curve").folds == 5
