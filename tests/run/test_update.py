"""A finished run that learns new normal sound and marks: alarms that are gone, faults that are still found."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import soundfile
from mlflow import MlflowClient
from support import world

import mimii_pl
from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import read_arrays, stored_rows
from mimii_pl.core.run_dir import read_facts
from mimii_pl.core.stored_config import read_config
from mimii_pl.rerun import decide, rescore, resumed
from mimii_pl.run import run
from mimii_pl.sweep.register import register
from mimii_pl.update import update

pytestmark = pytest.mark.slow
SMALL = ("task.criterion_clips=12", "threshold=conformal", "report=none")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of a committee, of a trained detector with a back end, and of one without, on the same world."""
    folder = tmp_path_factory.mktemp("update")
    root = world.write(folder / "world", train=20, test=4, seconds=1.0)
    run(world.configured(root, "model=committee", *SMALL), folder / "committee")
    run(world.configured(root, "model=dense_ae", "trainer=smoke", "backend=knn", *SMALL), folder / "trained")
    run(world.configured(root, "model=level", *SMALL), folder / "own")
    return folder


def bearing(folder, count=12, *, id_=0, seed=7, seconds=1.0, whistle=2500):
    """Recordings of a machine with a new, healthy bearing: a faint tone that it did not have."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        wave = world.chord(rng, id_ // 2, anomalous=False, seconds=seconds)
        time = np.arange(len(wave)) / world.RATE
        wave = wave + 0.1 * np.sin(2 * np.pi * whistle * time + rng.uniform(0, 6))
        soundfile.write(folder / f"new_id_{id_:02d}_{index:03d}.wav", wave, world.RATE, subtype="PCM_16")
    return folder


def faults(folder, count=4, seed=9):
    """Recordings with a fault, as the world's own."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        wave = world.chord(rng, 0, anomalous=True, seconds=1.0)
        soundfile.write(folder / f"fault_id_00_{index:03d}.wav", wave, world.RATE, subtype="PCM_16")
    return folder


def updated(source, target, *overrides):
    options = ["logger=none", "report=none", "efficiency.seconds=0", "device=cpu", f"run={source}", *overrides]
    update(compose(options, "command/update"), target)
    return target


def marks(path, marked):
    lines = [f"{file},{mark}" for file, mark in marked]
    path.write_text("\n".join(["path,label", *lines]) + "\n")
    return path


def content(run_dir):
    files = sorted(path for path in run_dir.rglob("*") if path.is_file() and not path.name.startswith(".lock"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def alarms(run_dir, folder):
    files = sorted(folder.glob("*.wav"))
    return mimii_pl.load(run_dir, device="cpu").decide(files).anomalous


def table(run_dir):
    rows = stored_rows(run_dir / "update.csv", ("machine_id", "what", "clips", "before", "after"))
    return {
        row["what"]: (int(row["clips"]), float(row["before"]), float(row["after"]))
        for row in rows
        if row["machine_id"] == "all"
    }


def test_an_alarm_is_gone_a_fault_is_still_found_and_the_run_of_before_is_untouched(runs, tmp_path):
    source, before = runs / "committee", content(runs / "committee")
    new, later, wrong = bearing(tmp_path / "new"), bearing(tmp_path / "later", seed=8), faults(tmp_path / "wrong")
    assert alarms(source, later).mean() > 0.7
    assert alarms(source, wrong).all()
    target = updated(source, tmp_path / "run", f"input={new}", "force=true")
    assert alarms(target, later).mean() < 0.3
    assert alarms(target, wrong).all()
    assert content(source) == before
    facts = read_facts(target)
    assert (facts["status"], facts["updated_from"]) == ("finished", str(source))
    found = table(target)
    assert found["alarms on new normal clips"][0] == 12
    assert found["alarms on new normal clips"][1] > 8 > 4 > found["alarms on new normal clips"][2]
    assert found["sensitivity to synthetic faults"][1] == pytest.approx(read_facts(source)["sensitivity"])
    assert found["sensitivity to synthetic faults"][2] == pytest.approx(facts["sensitivity"])
    assert facts["held_out"] == read_facts(source)["held_out"]


def test_what_the_tables_say_is_what_both_runs_say(runs, tmp_path):
    source = runs / "trained"
    new = bearing(tmp_path / "new")
    target = updated(source, tmp_path / "run", f"input={new}", "force=true")
    rows = stored_rows(target / "changes.csv", ("file", "group", "score_before", "score_after"))
    tests = [row for row in rows if row["group"].startswith("test")]
    assert len(tests) == 16
    for run_dir, when in ((source, "before"), (target, "after")):
        said = mimii_pl.load(run_dir, device="cpu").decide([row["file"] for row in tests])
        np.testing.assert_allclose([float(row[f"score_{when}"]) for row in tests], said.score, rtol=1e-4, atol=1e-6)
        assert [row[f"decision_{when}"] == "1" for row in tests] == said.anomalous.tolist()
    held = [row for row in rows if row["group"] == "held out"]
    assert len(held) == 4  # a tenth of the training clips, for a checkpoint
    normal = json.loads((target / "thresholds.json").read_text())["normal"]
    assert len(normal["all"]) == 4 + 12
    own = mimii_pl.load(target, device="cpu").score(sorted(new.glob("*.wav")))
    crossed = [float(row["score_after"]) for row in rows if row["group"] == "new"]
    assert (np.array(crossed) > own).all()  # judged by a bank without them, where their own distance is 0
    assert found_splits(target) == found_splits(source) | {"train": 36 + 12}


def test_motors_at_new_speeds_are_learned_and_their_faults_still_found(shared, tmp_path):
    root = shared / "real" / "bldc_dcase2020"
    options = ("dataset=dcase", f"dataset.root={root}", "machine=bldc", "model=committee", *SMALL)
    run(world.configured(tmp_path / "none", *options, f"dataset.cache_dir={tmp_path / 'cache'}"), tmp_path / "first")
    columns = ("file", "recording", "offset_s", "label", "split")
    healthy = [
        row for row in stored_rows(root / "MANIFEST.csv", columns) if (row["label"], row["split"]) == ("normal", "test")
    ]
    rows = [(root / "bldc" / row["file"], row["recording"]) for row in healthy if float(row["offset_s"]) < 6]
    lines = [f"{file},normal,{recording}" for file, recording in rows]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,recording", *lines]) + "\n")
    target = updated(tmp_path / "first", tmp_path / "second", f"marks={tmp_path / 'labels.csv'}")
    found = table(target)
    assert found["alarms on normal test clips"] == (18, 18, 0)
    assert found["anomalous test clips found"] == (70, 70, 70)
    before, after = found["sensitivity to synthetic faults"][1:]
    assert after > before - 0.05


@pytest.mark.parametrize("options", [["backend.pool=none"], ["backend.pool=max", "dataset.channel=all"]])
def test_windows_and_channels_are_judged_as_the_new_run_judges_them(tmp_path, options):
    root = world.write(tmp_path / "world", train=8, test=2, seconds=1.0)
    if "dataset.channel=all" in options:
        for path in root.rglob("*.wav"):
            wave, rate = soundfile.read(path)
            noise = np.random.default_rng(len(path.name)).standard_normal(len(wave))
            soundfile.write(path, np.stack([wave, 0.8 * wave + 0.01 * noise], axis=1), rate)
    run(world.configured(root, "model=dense_ae", "trainer=smoke", "backend=knn", *options, *SMALL), tmp_path / "first")
    new = bearing(tmp_path / "new", 4)
    target = updated(tmp_path / "first", tmp_path / "second", f"input={new}", "force=true")
    rows = [row for row in stored_rows(target / "changes.csv", ("file", "group")) if row["group"].startswith("test")]
    said = mimii_pl.load(target, device="cpu").score([row["file"] for row in rows])
    np.testing.assert_allclose([float(row["score_after"]) for row in rows], said, rtol=1e-4, atol=1e-6)
    assert len(rows) == 8
    shutil.rmtree(root / "fan" / "train")
    with pytest.raises(InputError, match=r"backend\.pool=.* have to be heard again, and .* are gone"):
        updated(tmp_path / "first", tmp_path / "third", f"input={new}", "force=true")


def found_splits(run_dir):
    names, counts = np.unique(read_arrays(run_dir / "embeddings.npz")["split"], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def test_nothing_new_that_is_heard_changes_nothing_and_is_said(runs, tmp_path):
    with pytest.raises(InputError, match="has learned all 40 clips already"):
        updated(runs / "committee", tmp_path / "run", f"input={runs / 'world' / 'fan' / 'train'}")


def test_poisoned_input_is_refused_and_leaves_nothing(runs, tmp_path):
    wrong = faults(tmp_path / "wrong", 5)
    with pytest.raises(InputError, match=r"^new clips score as alarms \(5 of 5 of fan/id_00; at most 20% .*force=true"):
        updated(runs / "committee", tmp_path / "run", f"input={wrong}")
    assert not (tmp_path / "run").exists()


def test_normal_sound_is_taken_without_force(runs, tmp_path):
    more = world.write(tmp_path / "more", train=6, test=0, seconds=1.0, seed=5) / "fan" / "train"
    target = updated(runs / "committee", tmp_path / "run", f"input={more}")
    found = table(target)
    assert found["alarms on new normal clips"][0] == 12
    assert found["anomalous test clips found"] == (8, 8, 8)
    again = updated(target, tmp_path / "again", f"input={bearing(tmp_path / 'new')}", "force=true")  # and once more
    assert found_splits(again)["train"] == found_splits(runs / "committee")["train"] + 24
    with pytest.raises(InputError, match="has learned all 12 clips already"):
        updated(again, tmp_path / "third", f"input={more}")


def test_marks_choose_thresholds_and_weigh_members_as_an_oracle(runs, tmp_path, capsys):
    new, wrong = bearing(tmp_path / "new"), faults(tmp_path / "wrong")
    rows = [(file, "normal") for file in sorted(new.glob("*.wav"))]
    rows += [(file, "fault") for file in sorted(wrong.glob("*.wav"))]
    rows += [(tmp_path / "nowhere.wav", "unsure"), (tmp_path / "nothing.wav", "")]
    target = updated(runs / "committee", tmp_path / "run", f"marks={marks(tmp_path / 'labels.csv', rows)}")
    cfg = read_config(target)
    assert cfg.choices.threshold == "balanced"
    weights = dict(cfg.backend.weights)
    assert set(weights) == {"shape", "amplitude_shape", "bands", "amplitude", "rhythm"}
    assert all(0.7 < weight <= 1 for weight in weights.values())  # four marks against ten imagined ones
    scorer = mimii_pl.load(target, device="cpu")
    assert scorer.thresholds.origin.startswith("oracle")
    members = np.stack(list(scorer.members(sorted(wrong.glob("*.wav"))).values()), axis=1)
    judged = [weights[name.partition(",")[0]] for name in scorer.member_names]
    np.testing.assert_allclose(np.average(members, axis=1, weights=judged), scorer.score(sorted(wrong.glob("*.wav"))))
    assert table(target)["recordings marked as faults found"] == (4, 4, 4)
    assert capsys.readouterr().out.count("oracle") >= 3
    assert not set(read_arrays(target / "embeddings.npz")["path"]) & {str(file) for file in wrong.glob("*.wav")}


def test_a_bank_is_bounded_by_its_most_different_clips(runs, tmp_path):
    target = updated(runs / "trained", tmp_path / "run", f"input={bearing(tmp_path / 'new')}", "force=true", "limit=8")
    kept = read_arrays(target / "embeddings.npz")
    learned = kept["split"] == "train"
    assert np.unique(kept["machine_id"][learned], return_counts=True)[1].tolist() == [8, 8]
    assert read_arrays(target / "backend.npz")["0.bank"].shape[0] == 8
    assert any("new_id_00" in path for path in kept["path"][learned])
    assert json.loads((target / "thresholds.json").read_text())["normal"]["all"]


def test_a_detector_that_scores_by_itself_gets_thresholds_only(runs, tmp_path, capsys):
    new = tmp_path / "new"
    new.mkdir()
    rng = np.random.default_rng(4)
    for index in range(20):
        wave = world.chord(rng, 0, anomalous=False, seconds=1.0) * 0.5
        soundfile.write(new / f"quiet_id_00_{index}.wav", wave, world.RATE)
    target = updated(runs / "own", tmp_path / "run", f"input={new}", "force=true")
    assert "scores stay" in " ".join(capsys.readouterr().out.split())
    limits = [
        json.loads((place / "thresholds.json").read_text())["thresholds"]["all"] for place in (runs / "own", target)
    ]
    assert limits[0] < limits[1]
    before, after = table(target)["sensitivity to synthetic faults"][1:]
    assert before == after
    scores = [mimii_pl.load(place, device="cpu").score(sorted(new.glob("*.wav"))) for place in (runs / "own", target)]
    assert scores[0].tolist() == scores[1].tolist()


def test_embeddings_that_are_not_stored_are_computed_again(runs, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(runs / "committee", copy)
    (copy / "embeddings.npz").unlink()
    new = bearing(tmp_path / "new")
    one, other = (
        updated(place, tmp_path / f"of_{place.name}", f"input={new}", "force=true")
        for place in (runs / "committee", copy)
    )
    columns = ("what", "before", "after")
    assert stored_rows(one / "update.csv", columns) == stored_rows(other / "update.csv", columns)
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace(str(runs / "world"), str(tmp_path / "gone")))
    with pytest.raises(InputError, match=r"not stored with it, and its data set.* is gone .*Bring back"):
        updated(copy, tmp_path / "third", f"input={new}", "force=true")


def test_an_updated_run_is_neither_rescored_nor_resumed(runs, tmp_path):
    target = updated(runs / "own", tmp_path / "run", f"input={bearing(tmp_path / 'new')}", "force=true")
    with pytest.raises(InputError, match="was updated: it learned from recordings beyond its data set"):
        rescore(compose(["logger=none", f"run={target}", "backend=lof"], "command/rescore"), tmp_path / "again")
    with pytest.raises(InputError, match="the same `mimii update` makes it again"):
        resumed(str(target), [])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "nothing to learn from: give input="),
        (["input=nowhere"], "input=nowhere: there is no such file or folder"),
        (["marks=nowhere.csv"], "marks=nowhere.csv: there is no such file"),
        (["input={new}", "limit=0"], "limit=0: a whole number of clips"),
        (["input={new}", "machine_id=id_77"], "machine ID 'id_77' was not seen in training"),
        (["input={text}"], "none of 1 new recordings can be used; the first, .*text.wav"),
        (["input={alien}"], "alien.wav: no machine ID was given|of which machine ID"),
        (["marks={wrong}"], "line 2: 'maybe': a mark is normal, fault, unsure or empty"),
        (["marks={empty}"], "none of its 1 recordings is marked: write normal or fault into label"),
        (["marks={both}"], "a.wav is marked normal and fault: which is it?"),
        (["marks={page}"], "take marks.zip of its page"),
        (["marks={bare}"], "it has no column `label`; it has: path"),
    ],
)
def test_bad_input_is_named_in_one_line(runs, tmp_path, overrides, message):
    new = bearing(tmp_path / "new", 2)
    (tmp_path / "text_id_00.wav").write_text("no sound")
    (tmp_path / "alien").mkdir()
    soundfile.write(
        tmp_path / "alien" / "alien.wav",
        world.chord(np.random.default_rng(0), 0, anomalous=False, seconds=1.0),
        world.RATE,
    )
    places = {
        "new": new,
        "text": tmp_path / "text_id_00.wav",
        "alien": tmp_path / "alien" / "alien.wav",
        "wrong": marks(tmp_path / "wrong.csv", [("a.wav", "maybe")]),
        "empty": marks(tmp_path / "empty.csv", [("a.wav", "")]),
        "both": marks(tmp_path / "both.csv", [("a.wav", "normal"), ("a.wav", "fault")]),
        "page": tmp_path / "labels.csv",
        "bare": tmp_path / "bare.csv",
    }
    places["page"].write_text("event,machine,mark\n1,fan,fault\n")
    places["bare"].write_text("path\na.wav\n")
    given = [override.format(**places) for override in overrides]
    with pytest.raises(InputError, match=message.replace("text.wav", "text_id_00.wav")) as error:
        updated(runs / "committee", tmp_path / "run", *given)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::ResourceWarning")
def test_a_registered_model_gets_a_new_version_that_is_in_use_only_if_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    root = world.write(tmp_path / "world", train=12, test=2, seconds=1.0)
    logger = ("logger=mlflow", f"trainer.logger.tracking_uri={store}")
    run(world.configured(root, "model=spectrum", "backend=knn", *SMALL, *logger), tmp_path / "first")
    assert register(run=str(tmp_path / "first"))[0].moved
    new = bearing(tmp_path / "new", 8)

    def updating(target, *overrides):
        options = [*logger, "report=none", "efficiency.seconds=0", "device=cpu", f"tracking_uri={store}", "force=true"]
        update(compose([*options, "run=models:/fan@champion", f"input={new}", *overrides], "command/update"), target)
        client = MlflowClient(store)
        aliases = client.get_registered_model("fan").aliases
        return aliases["champion"], {v.version: v.tags for v in client.search_model_versions("name = 'fan'")}

    champion, versions = updating(tmp_path / "second")
    assert (str(champion), len(versions)) == ("1", 2)
    assert versions[max(versions)]["parent"] == "models:/fan/1"
    champion, versions = updating(tmp_path / "third", "promote=true", "limit=6")
    assert (str(champion), len(versions)) == ("3", 3)
    decide(compose([f"run={tmp_path / 'third'}", "threshold=gamma", "report=none"], "command/decide"))
    with pytest.raises(InputError, match="has changed since it was registered"):
        updating(tmp_path / "fourth")
    shutil.rmtree(tmp_path / "third")
    with pytest.raises(InputError, match=r"its run directory .*third is not on this computer. Copy it here"):
        updating(tmp_path / "fourth")
