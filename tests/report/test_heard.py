"""Which member heard a clip, its nearest normal clip, and orders of a shaft: known answers."""

import csv
import html
import io
import re
from base64 import b64decode

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread
from support import world

import mimii_pl
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_arrays
from mimii_pl.dataset._rpm import told_rpm
from mimii_pl.report.clips import location_words
from mimii_pl.report.levels import mel_levels
from mimii_pl.report.listen import listen
from mimii_pl.report.members import member_bars
from mimii_pl.report.neighbours import NormalClips
from mimii_pl.report.spectrograms import Location, order_ticks, spectrogram
from mimii_pl.run import run
from mimii_pl.scoring.bulk.files import score_files
from mimii_pl.scoring.scores import ClipScore, read_scores, write_scores

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("heard") / "world", train=14, test=4)


@pytest.fixture(scope="module")
def committee(root):
    run_dir = root.parent / "committee"
    run(world.configured(root, "model=committee", "report=default", "report.clips=2", "dataset.rpm=6000"), run_dir)
    return run_dir


@pytest.fixture(scope="module")
def alone(root):
    run_dir = root.parent / "alone"
    run(world.configured(root, "model=spectrum", "backend=knn"), run_dir)
    return run_dir


# --- members ---------------------------------------------------------------------------------------------------------
def test_bars_are_on_one_scale_from_zero():
    first, second = member_bars(["a", "b"], np.array([[4.0, 8.0], [-2.0, 0.0]]), np.ones(2))
    assert [bar.name for bar in first] == ["a", "b", "mean"]
    assert [bar.score for bar in first] == [4, 8, 6]
    assert [(bar.left, bar.width) for bar in first] == [(20, 40), (20, 80), (20, 60)]  # the track is -2 to 8
    assert [(bar.left, bar.width) for bar in second] == [(0, 20), (20, 0), (10, 10)]


def test_small_scores_have_short_bars_and_no_number_breaks_the_page():
    assert member_bars(["a", "b"], np.array([[4.0, 8.0]]), np.array([3.0, 1.0]))[0][-1].score == 5
    assert member_bars(["a"], np.array([[1.0]]), np.ones(1))[0][0].width == pytest.approx(100 / 3)
    strange = member_bars(["a", "b"], np.array([[np.inf, 1.0], [-np.inf, np.nan]]), np.ones(2))
    assert all(np.isfinite((bar.left, bar.width)).all() for row in strange for bar in row)


@pytest.mark.slow
def test_the_score_is_the_mean_of_the_members(committee):
    scorer = mimii_pl.load(committee, device="cpu")
    waves = np.stack([world.chord(np.random.default_rng(n), 0, anomalous=n > 2, seconds=1.5) for n in range(5)])
    members = scorer.members(waves, rate=world.RATE, machine_id="id_00")
    assert list(members) == scorer.member_names
    assert list(members)[:2] == ["shape, own ID", "shape, all IDs"]
    scores = scorer.score(waves, rate=world.RATE, machine_id="id_00")
    np.testing.assert_allclose(np.mean(list(members.values()), axis=0), scores)
    assert scorer.members(waves[:0], rate=world.RATE)["rhythm, all IDs"].shape == (0,)


@pytest.mark.slow
def test_what_throbs_is_heard_by_the_member_for_rhythm(committee):
    scorer = mimii_pl.load(committee, device="cpu")
    wave = world.chord(np.random.default_rng(5), 0, anomalous=False, seconds=1.5)
    throb = wave * (1 + 0.7 * np.sin(2 * np.pi * 8 * np.arange(len(wave)) / world.RATE)).astype(np.float32)
    before, after = (
        scorer.members(each, rate=world.RATE, machine_id="id_00") for each in (wave, throb / throb.std() * wave.std())
    )
    rise = {name: float((after[name] - before[name])[0]) for name in before}
    assert max(rise, key=rise.get) == "rhythm, all IDs"
    assert rise["rhythm, all IDs"] > 3


@pytest.mark.slow
def test_a_run_of_one_judge_has_no_members(alone):
    scorer = mimii_pl.load(alone, device="cpu")
    assert scorer.member_names == []
    with pytest.raises(InputError, match=r"backend=committee, backend\.per_id=both, or a fused run"):
        scorer.members(np.zeros((1, 100), np.int16), rate=world.RATE, machine_id="id_00")


@pytest.mark.slow
def test_members_are_columns(committee, alone, root, tmp_path):
    table = tmp_path / "scores.csv"
    score_files(lambda: committee, input=str(root / "fan" / "test"), output=str(table), members=True, workers=1)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("member(")]
    assert names == [f"member({name})" for name in mimii_pl.load(committee, device="cpu").member_names]
    plain = score_files(lambda: committee, input=str(root / "fan" / "test"), output=str(tmp_path / "b.csv"), workers=1)
    with plain.open() as file:
        assert [row["score"] for row in csv.DictReader(file)] == [row["score"] for row in rows]
    for row in rows:
        assert np.mean([float(row[name]) for name in names]) == pytest.approx(float(row["score"]))
    with pytest.raises(InputError, match="members=true: the score of this run is not the mean"):
        score_files(lambda: alone, input=str(root / "fan" / "test"), output=str(tmp_path / "c.csv"), members=True)


@pytest.mark.slow
def test_skipped_recordings_have_empty_members(committee, tmp_path):
    (tmp_path / "id_00_bad.wav").write_bytes(b"no sound")
    table = score_files(lambda: committee, input=str(tmp_path), output=str(tmp_path / "s.csv"), members=True, workers=1)
    with table.open() as file:
        (row,) = csv.DictReader(file)
    assert row["skipped"]
    assert row["member(rhythm, all IDs)"] == row["score"] == ""


# --- the nearest normal clip -----------------------------------------------------------------------------------------
def embeddings(path, rows, **more):
    """Rows: (path, split, machine ID, embedding)."""
    names, splits, ids, values = zip(*rows, strict=True)
    arrays = {"path": names, "split": splits, "machine_id": ids, "machine": ["fan"] * len(rows)}
    write_arrays(path, {name: np.array(column) for name, column in arrays.items()} | {"embedding": np.array(values)})
    return path


@pytest.mark.slow
def test_the_nearest_is_standardized_normal_and_of_the_same_id(tmp_path, alone):
    rows = [
        ("query.wav", "test", "id_00", [10.0, 1000.0]),
        ("other_test.wav", "test", "id_00", [10.0, 1000.0]),
        ("other_id.wav", "train", "id_02", [10.0, 1000.0]),
        ("a.wav", "train", "id_00", [0.0, 1000.0]),  # nearer in plain numbers
        ("b.wav", "validation", "id_00", [10.0, 1500.0]),  # nearer in standard deviations
        ("c.wav", "train", "id_00", [1.0, -4000.0]),
        ("strange.wav", "test", "id_07", [1.0, -4000.0]),
    ]
    scorer = mimii_pl.load(alone, device="cpu")  # not trained: all normal clips are in its bank
    normal = NormalClips(embeddings(tmp_path / "embeddings.npz", rows), scorer)
    found = normal.nearest("query.wav")
    assert found.path.name == "b.wav"
    assert "3 normal clips of its machine ID: standardized Euclidean distance of embeddings" in found.words
    assert normal.nearest("./query.wav") == found
    assert normal.nearest("c.wav").path.name != "c.wav"
    strange = normal.nearest("strange.wav")
    assert strange.path.name == "c.wav"
    assert "4 normal clips of all machine IDs" in strange.words
    assert normal.nearest("unknown.wav") is None


@pytest.mark.slow
def test_only_what_a_trained_run_learned_from_is_its_bank(tmp_path, alone):
    rows = [
        ("query.wav", "test", "id_00", [0.0]),
        ("held_out.wav", "validation", "id_00", [0.0]),
        ("far.wav", "train", "id_00", [9.0]),
    ]
    scorer = mimii_pl.load(alone, device="cpu")
    path = embeddings(tmp_path / "embeddings.npz", rows)
    assert NormalClips(path, scorer).nearest("query.wav").path.name == "held_out.wav"
    scorer.detector = mimii_pl.model.Detector()
    assert NormalClips(path, scorer).nearest("query.wav").path.name == "far.wav"


@pytest.mark.slow
def test_the_view_of_the_first_member_counts(tmp_path, committee):
    scorer = mimii_pl.load(committee, device="cpu")
    view, width = scorer.detector.views["mel_db"], scorer.detector.views["modulation"].stop
    query, like, unlike = np.zeros((3, width))
    like[view.stop :] = 100
    unlike[view] = 1
    rows = [(name, "train", "id_00", value) for name, value in (("like.wav", like), ("unlike.wav", unlike))]
    path = embeddings(tmp_path / "embeddings.npz", [("query.wav", "test", "id_00", query), *rows])
    assert NormalClips(path, scorer).nearest("query.wav").path.name == "like.wav"


@pytest.mark.slow
def test_damaged_embeddings_are_named(tmp_path, alone):
    path = tmp_path / "embeddings.npz"
    write_arrays(path, {"embedding": np.zeros((2, 3)), "path": np.array(["a"])})
    with pytest.raises(InputError, match=r"embeddings\.npz is damaged"):
        NormalClips(path, mimii_pl.load(alone, device="cpu"))


@pytest.mark.slow
def test_the_page_shows_members_and_the_nearest(committee):
    page = (committee / "report.html").read_text()
    clips = len(set(re.findall(r'id="(clip-\d+-\d+)"', page)))
    assert clips >= 4
    assert page.count('<table class="members">') == clips
    assert page.count("<audio") == page.count("data:image/webp") == 2 * clips
    scorer = mimii_pl.load(committee, device="cpu")
    highest = max(read_scores(committee / "scores.csv"), key=lambda clip: clip.score)
    heard = scorer.members(highest.file, machine_id=f"{highest.machine}/{highest.id}")
    text = re.sub(r"<[^>]*>", " ", page)
    for name, score in heard.items():
        assert re.search(rf"{re.escape(name)}\s+{score[0]:.1f}\b", text)
    assert re.search(rf"mean\s+{highest.score:.1f}\b", text)
    assert "normal clips of its machine ID: standardized Euclidean distance of view mel_db" in text


@pytest.mark.slow
def test_names_of_files_and_words_of_an_attribute_are_escaped(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "own"
    for condition in ("normal", "anomaly"):
        (folder / condition).mkdir(parents=True)
        for n in range(12 if condition == "normal" else 2):
            wave = world.chord(rng, 0, anomalous=condition == "anomaly", seconds=0.5)
            soundfile.write(folder / condition / f"{HOSTILE}{n}.wav", wave, world.RATE)
    cfg = world.configured(folder, "model=committee", "dataset=folder", "report=default", "report.clips=1")
    run(cfg, tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "normal clips of its machine ID" in page
    assert "onerror" in page
    assert HOSTILE not in page
    assert html.escape(HOSTILE) in page


def test_pictures_that_are_compared_have_one_scale():
    wave = (3000 * np.random.default_rng(0).standard_normal(16000)).astype(np.int16)
    loud, quiet = mel_levels(wave, 16000), mel_levels((wave // 100).astype(np.int16), 16000)
    top = loud.decibels.max()
    assert top - quiet.decibels.max() == pytest.approx(40, abs=0.5)

    def brightness(picture):
        return float(np.asarray(imread(io.BytesIO(b64decode(picture.src.partition(",")[2])), "webp"), float).mean())

    alone = brightness(spectrogram(quiet))
    assert brightness(spectrogram(loud)) == pytest.approx(alone, rel=0.05)
    assert brightness(spectrogram(quiet, top=top)) < 0.9 * alone


# --- orders ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("attributes", "rpm"),
    [
        ({"rpm": "1480"}, 1480),
        ({"RPM": 1480.5}, 1480.5),
        ({"Motor speed [1/min]": "2950,5"}, 2950.5),
        ({"speed": "900 rpm"}, 900),
        ({"nominal_rpm": "3000", "rpm": "2950"}, 2950),
        ({"speed": "6"}, None),
        ({"rpm": "1,480"}, None),
        ({"rpm": "fast"}, None),
        ({"rpm": "0"}, None),
        ({"rpm": "9" * 400}, None),
        ({"rpm": HOSTILE}, None),
        ({"terpm": "3"}, None),
        ({}, None),
    ],
)
def test_speeds_that_attributes_tell(attributes, rpm):
    assert told_rpm(attributes) == rpm


def test_ticks_are_orders_where_their_frequency_is():
    centres = np.arange(100.0, 8100, 100)  # 80 bands
    ticks = order_ticks(6000, centres)  # order 1 is 100 Hz
    assert list(ticks) == [1, 10, 20, 50]  # 2 and 5 are too near to 1
    assert list(ticks.values()) == [0.5, 9.5, 19.5, 49.5]
    assert order_ticks(6e6, centres) == {}  # order 1 is beyond the axis
    assert all(100 <= order * 0.001 / 60 <= 8000 for order in order_ticks(0.001, centres))


def test_the_place_is_told_in_orders_too():
    amount = np.zeros((4, 20))
    amount[2, 7] = 1
    location = Location(amount, np.array([0, 1000, 4000, 6000, 8000]), "by hand")
    assert location_words(location, 2.0) == "most striking near 5 kHz, at 0.8 s"
    assert location_words(location, 2.0, 6000) == "most striking near 5 kHz (order 50), at 0.8 s"
    assert location_words(location, 2.0, 2500) == "most striking near 5 kHz (order 120), at 0.8 s"
    everywhere = location._replace(amount=amount - 1)
    assert location_words(everywhere, 2.0) == "no part stands out: it differs from usual clips everywhere"


@pytest.mark.slow
def test_the_speed_of_each_clip_is_kept_and_shown(tmp_path):
    rng, rows = np.random.default_rng(0), []
    for n in range(16):
        anomalous = n >= 13
        wave = world.chord(rng, 0, anomalous=anomalous, seconds=0.5)
        soundfile.write(tmp_path / f"{n:02}.wav", wave, world.RATE)
        split = "train" if n < 10 else "test"
        rows.append((f"{n:02}.wav", int(anomalous), split, 1200 + 60 * n if n != 10 else "?"))
    with (tmp_path / "label.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "shaft_rpm"), *rows])
    table = ["model=committee", "dataset=table", "protocol=official", "report=default", "report.clips=2"]
    run(world.configured(tmp_path, *table, "dataset.rpm=90"), tmp_path / "run")
    speeds = {clip.file[-6:]: clip.rpm for clip in read_scores(tmp_path / "run" / "scores.csv")}
    assert speeds == {f"{n:02}.wav": 1200 + 60 * n if n != 10 else 90 for n in range(10, 16)}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "shaft at 2100 rev/min, order 1 is 35 Hz" in page
    assert re.search(r"most striking near [\d.]+ k?Hz \(order [\d.]+\)", page)
    (near, speed) = re.search(
        r"(\d\d)\.wav</span> <span class=\"tag ok\">normal</span><br>[^<]*at (\d+) rev", page
    ).groups()
    assert int(speed) == 1200 + 60 * int(near)


def test_speeds_survive_the_table(tmp_path):
    clips = [ClipScore("fan", "id_00", "", f"{n}.wav", n % 2, float(n), 1, rpm) for n, rpm in enumerate((1480.5, None))]
    write_scores(tmp_path / "scores.csv", clips)
    assert read_scores(tmp_path / "scores.csv") == clips
    write_scores(tmp_path / "scores.csv", clips[1:])
    assert "rpm" not in (tmp_path / "scores.csv").read_text()
    header = ",".join(ClipScore._fields)
    (tmp_path / "scores.csv").write_text(f"{header}\nfan,id_00,,a.wav,0,1.0,0,-5\n")
    with pytest.raises(InputError, match=r"line 2: the speed is not a number above 0"):
        read_scores(tmp_path / "scores.csv")


@pytest.mark.parametrize("rpm", ["-3", "0", "nan", "inf"])
def test_a_speed_that_is_none_is_named(root, rpm):
    with pytest.raises(InputError, match=r"dataset\.rpm=.*: should be above 0, in revolutions of the shaft per minute"):
        world.data_of(world.configured(root, "model=committee", f"dataset.rpm={rpm}"))


# --- mimii listen ----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_clips_of_a_split_show_what_a_run_hears(root, committee, alone):
    options = [f"dataset.root={root}", f"dataset.cache_dir={root.parent / 'cache'}", "clips=1", "split=test"]
    page = listen([*options, f"run={committee}", "dataset.rpm=6000"]).page
    assert page.count('<table class="members">') == page.count("<audio") == 4
    assert page.count("shaft at 6000 rev/min, order 1 is 100 Hz") == 4
    heard = mimii_pl.load(committee, device="cpu").members(root / "fan" / "test" / "anomaly_id_00_00000000.wav")
    assert re.search(rf"rhythm, all IDs</th>.*<td>{heard['rhythm, all IDs'][0]:.1f}</td>", page)
    assert '<table class="members">' not in listen(options).page
    with pytest.raises(InputError, match=r"run=.*: its score is not the mean of several members"):
        listen([*options, f"run={alone}"])
