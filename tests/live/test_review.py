"""`mimii review`: strange clips and doubtful ones, no two alike, in a table that `mimii update` learns from."""

import numpy as np
import pytest
import soundfile
from support import world

import mimii_pl
from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import stored_rows, write_csv
from mimii_pl.live.review import DOUBTFUL, REVIEW_COLUMNS, STRANGE, review
from mimii_pl.live.upkeep.k_centre import k_centre
from mimii_pl.run import run
from mimii_pl.update import update

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    root = world.write(folder / "world", train=12, test=2, seconds=1.0)
    options = ("model=spectrum", "backend=knn", "task.criterion_clips=12", "report=none", "threshold=conformal")
    run(world.configured(root, *options), folder / "run")
    return folder / "run"


@pytest.fixture
def week(tmp_path):
    """Thirty copies of one whistle, one knock, and normal sound in a long recording."""
    rng, folder = np.random.default_rng(1), tmp_path / "week" / "id_00"
    folder.mkdir(parents=True)
    usual = [world.chord(rng, 0, anomalous=False, seconds=1.0) for _ in range(12)]
    soundfile.write(folder / "night.wav", np.concatenate(usual), world.RATE)
    whistle = usual[0] + 0.3 * np.sin(2 * np.pi * 6000 * np.arange(world.RATE) / world.RATE)
    for number in range(30):
        soundfile.write(
            folder / f"whistle_{number:02d}.wav", whistle + 1e-4 * rng.standard_normal(world.RATE), world.RATE
        )
    knock = usual[1] + (np.arange(world.RATE) % 4000 < 40) * 0.5
    soundfile.write(folder / "knock.wav", knock, world.RATE)
    return folder.parent


def test_one_of_many_copies_is_asked_about_and_marks_become_part_of_the_run(finished, week, tmp_path, capsys):
    table = review(run=str(finished), input=str(week), output=str(tmp_path / "ask"), count=6, device="cpu")
    rows = stored_rows(table, REVIEW_COLUMNS)
    assert len(rows) == len({row["path"] for row in rows}) == 6
    strange = [row["recording"] for row in rows if row["why"] == STRANGE]
    assert any("knock" in name for name in strange)
    assert sum("whistle" in name for name in strange) <= 2  # of thirty
    doubtful = [row for row in rows if row["why"] == DOUBTFUL]
    assert any("night" in row["recording"] and row["start"] for row in doubtful)
    assert {row["label"] for row in rows} == {""}
    for row in rows:
        again = mimii_pl.load(finished, device="cpu").decide(table.parent / row["path"], machine_id=row["id"])
        assert again.score[0] == pytest.approx(float(row["score"]), rel=1e-5)
        assert again.p_value[0] == pytest.approx(float(row["p_value"]), abs=1e-4)
    page = (table.parent / "index.html").read_text()
    assert page.count("<audio") == 6
    assert "mimii update" in capsys.readouterr().out
    with pytest.raises(InputError, match="may hold marks: name another folder"):
        review(run=str(finished), input=str(week), output=str(tmp_path / "ask"), device="cpu")

    def mark(row):
        return {**row, "label": "normal" if "night" in row["recording"] else "fault"}

    write_csv(table, REVIEW_COLUMNS, [[mark(row)[name] for name in REVIEW_COLUMNS] for row in rows])
    options = [f"run={finished}", f"marks={table}", "logger=none", "report=none", "efficiency.seconds=0", "device=cpu"]
    update(compose(options, "command/update"), tmp_path / "updated")
    learned = stored_rows(tmp_path / "updated" / "clips.csv", ("file",))
    assert sum("night" in row["file"] for row in learned) == sum("night" in row["recording"] for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 1}, "count=1: a whole number of clips, at least 2"),
        ({"input": "nowhere"}, "input=nowhere: there is no such file"),
        ({"machine_id": "id_9"}, "machine ID 'id_9' was not seen in training"),
    ],
)
def test_bad_options_are_named(finished, week, tmp_path, options, message):
    given = {
        "run": str(finished),
        "input": str(week / "id_00" / "knock.wav"),
        "output": str(tmp_path / "ask"),
        "device": "cpu",
    }
    if "machine_id" in options:
        given["input"] = str(soundfile_without_id(tmp_path))
    with pytest.raises(InputError, match=message):
        review(**{**given, **options})
    assert not (tmp_path / "ask").exists()


def soundfile_without_id(folder):
    path = folder / "plain.wav"
    soundfile.write(path, world.chord(np.random.default_rng(0), 0, anomalous=False, seconds=1.0), world.RATE)
    return path


def test_k_centre_leaves_nothing_far_away():
    x = np.random.default_rng(0).standard_normal((200, 3))
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    for most in (1, 5, 40):
        chosen = k_centre(x, most)
        assert len(set(chosen.tolist())) == most
        left = np.linalg.norm(scaled[:, None] - scaled[chosen], axis=2).min(axis=1).max()
        others = [np.random.default_rng(seed).choice(200, most, replace=False) for seed in range(50)]
        best = min(np.linalg.norm(scaled[:, None] - scaled[rows], axis=2).min(axis=1).max() for rows in others)
        assert left <= 2 * best
    assert len(k_centre(np.repeat(x[:3], 9, axis=0), 10)) == 3  # copies add nothing
    assert len(k_centre(x, 500)) == 200
