"""Finished runs fused into one: known answers, the same use as any other run, hostile and unfit members."""

import json
import shutil

import numpy as np
import pytest
from support import world
from support.cli import mimii

import mimii_pl
from mimii_pl.backend._backend import log_scores
from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import find_run, read_facts, run_fingerprint
from mimii_pl.fuse import fuse
from mimii_pl.rerun import decide, rescore, resumed
from mimii_pl.run import run
from mimii_pl.scoring.bulk.files import score_files
from mimii_pl.scoring.fused_scorer import FusedScorer
from mimii_pl.scoring.held_out_table import read_held_out
from mimii_pl.scoring.results import read_results
from mimii_pl.scoring.scores import read_scores
from mimii_pl.scoring.sensitivity import read_sensitivity, sensitivity_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A trained run, one that is not trained, one at a lower rate on shorter clips, and the first two fused."""
    folder = tmp_path_factory.mktemp("fuse")
    root = world.write(folder / "world", train=20, test=4)
    outputs = folder / "outputs"
    run(world.configured(root, "model=dense_ae", "trainer=smoke"), outputs / "trained")
    run(world.configured(root, "model=committee"), outputs / "free")
    slow = ["model=spectrum", "backend=knn", "dataset.sample_rate=8000", "dataset.seconds=1"]
    run(world.configured(root, *slow), outputs / "slow")
    fused(outputs / "fused", outputs / "trained", outputs / "free")
    return outputs


def fused(target, *members, overrides=()):
    names = ",".join(map(str, members))
    options = ["logger=none", "report=brief", "efficiency.seconds=0.1", f"runs=[{names}]", *overrides]
    fuse(compose(options, "command/fuse"), target)
    return target


def scores_of(run_dir):
    return np.array([clip.score for clip in read_scores(run_dir / "scores.csv")])


def loaded_scores(run_dir):
    clips = read_scores(run_dir / "scores.csv")
    scorer = mimii_pl.load(run_dir, device="cpu")
    return scorer.score([clip.file for clip in clips], machine_id=[clip.id for clip in clips])


def test_a_run_fused_with_itself_ranks_clips_as_it_does_itself(runs, tmp_path):
    twice = fused(tmp_path / "twice", runs / "trained", runs / "trained")
    assert read_facts(twice)["members"] == ["dense_ae", "dense_ae__2"]
    assert read_facts(twice)["sensitivity"] == pytest.approx(read_facts(runs / "trained")["sensitivity"], abs=1e-12)
    clips = read_scores(runs / "trained" / "scores.csv")
    for id_ in ("id_00", "id_02"):
        own = [row for row, clip in enumerate(clips) if clip.id == id_]
        assert np.argsort(scores_of(twice)[own]).tolist() == np.argsort(scores_of(runs / "trained")[own]).tolist()
    of_auc = [
        [r for r in read_results(place / "results.csv") if "auc" in r.metric] for place in (twice, runs / "trained")
    ]
    assert of_auc[0] == of_auc[1]
    assert [clip.decision for clip in read_scores(twice / "scores.csv")] == [clip.decision for clip in clips]


@pytest.mark.parametrize(("option", "weights"), [("weights=null", (1, 6)), ("weights=[3,1]", (3, 1))])
def test_scores_are_those_standardized_by_hand(runs, tmp_path, option, weights):
    place = fused(tmp_path / "run", runs / "trained", runs / "free", overrides=[option])
    clips = read_scores(place / "scores.csv")
    rows = []
    for name, logs in (("trained", True), ("free", False)):  # errors are positive; the committee's mean is signed
        state = json.loads((runs / name / "thresholds.json").read_text())["normal"]
        own = {clip.file: clip.score for clip in read_scores(runs / name / "scores.csv")}
        values = []
        for clip in clips:
            normal, score = np.array(state.get(f"fan/{clip.id}", state["all"])), np.array(own[clip.file])
            normal, score = (np.log(normal), np.log(score)) if logs else (normal, score)
            values.append(3 * np.arcsinh((score - np.median(normal)) / normal.std() / 3))
        rows.append(values)
    expected = np.average(rows, axis=0, weights=weights)
    np.testing.assert_allclose(scores_of(place), expected, rtol=1e-9)


def test_scores_of_zero_have_a_logarithm():
    assert log_scores(np.array([0.0, 1.0])).tolist() == [np.log(1e-12), 0.0]


def test_thresholds_rest_on_the_clips_that_all_members_held_out(runs):
    trained, free = (read_held_out(runs / name / "held_out.csv") for name in ("trained", "free"))
    count = [sum(not clip.fault for clip in clips) for clips in (trained, free)]
    assert count == [4, 40]  # a tenth for a checkpoint; none where nothing is trained
    normal = json.loads((runs / "fused" / "thresholds.json").read_text())["normal"]
    assert len(normal["all"]) == 4
    faulty = [{clip[:6] for clip in clips if clip.fault} for clips in (trained, free)]
    assert faulty[0] == faulty[1]
    noticed = read_sensitivity(runs / "fused" / "sensitivity.csv")
    assert sensitivity_of(noticed) == read_facts(runs / "fused")["sensitivity"]
    assert sum(entry.clips for entry in noticed) == len(faulty[0])


def test_the_result_is_loaded_and_decided_like_any_other_run(runs, tmp_path):
    place = tmp_path / "moved"
    shutil.copytree(runs / "fused", place)
    np.testing.assert_allclose(loaded_scores(place), scores_of(place), rtol=1e-5, atol=1e-6)
    assert "fused" in (place / "report.html").read_text()
    before = scores_of(place)
    decide(compose([f"run={place}", "threshold=gamma", "report=brief"], name="command/decide"))
    assert scores_of(place).tolist() == before.tolist()
    assert json.loads((place / "thresholds.json").read_text())["origin"].startswith("gamma")
    clips = read_scores(place / "scores.csv")
    scorer = mimii_pl.load(place, device="cpu")
    decided = scorer.decide([clip.file for clip in clips], machine_id=[clip.id for clip in clips])
    assert decided.anomalous.tolist() == [clip.decision == 1 for clip in clips]


def test_members_of_another_rate_and_length_hear_the_same_recordings(runs, tmp_path):
    place = fused(tmp_path / "run", runs / "slow", runs / "trained")
    scorer = mimii_pl.load(place, device="cpu")
    assert (scorer.sample_rate, scorer.seconds) == (16000, 1.5)
    found, known = loaded_scores(place), scores_of(place)
    assert np.abs(found - known).max() < 0.05 * known.std()  # resampled from 16 kHz instead of from the file
    files = [clip.file for clip in read_scores(place / "scores.csv")]
    turned = scorer.score(files[::-1], machine_id="id_00")[::-1]
    np.testing.assert_allclose(turned, scorer.score(files, machine_id="id_00"), rtol=1e-5)


def test_latest_is_no_member_and_members_count_in_the_fingerprint(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs.parent)
    assert find_run("latest").name == "fused"
    assert find_run("latest", trained=True).name == "slow"
    place = tmp_path / "copy"
    shutil.copytree(runs / "fused", place)
    assert run_fingerprint(place) == run_fingerprint(runs / "fused")
    path = place / "members" / "dense_ae" / "thresholds.json"
    path.write_text(path.read_text() + "\n")
    assert run_fingerprint(place) != run_fingerprint(runs / "fused")


def test_the_same_command_leaves_a_finished_run_and_refuses_another(runs, tmp_path):
    place = fused(tmp_path / "run", runs / "trained", runs / "free")
    before = (place / "run.json").read_text()
    fused(place, runs / "trained", runs / "free")
    assert (place / "run.json").read_text() == before
    with pytest.raises(InputError, match=r"holds a finished run with another .*fused\.members"):
        fused(place, runs / "trained", runs / "free", overrides=["weights=[2,1]"])


def test_an_interrupted_run_is_made_by_the_same_command(runs, tmp_path):
    place = tmp_path / "run"
    shutil.copytree(runs / "fused", place)
    facts = json.loads((place / "run.json").read_text())
    (place / "run.json").write_text(json.dumps({**facts, "status": "running"}))
    (place / "members" / "dense_ae" / "run.json").unlink()
    with pytest.raises(InputError, match=r"is fused of dense_ae, committee.* mimii fuse runs"):
        resumed(str(place), [])
    fused(place, runs / "trained", runs / "free")
    assert scores_of(place).tolist() == scores_of(runs / "fused").tolist()
    assert read_facts(place)["status"] == "finished"


# --- what cannot be fused --------------------------------------------------------------------------------------------
def test_what_needs_a_detector_refuses_a_fused_run(runs, tmp_path):
    place = runs / "fused"
    with pytest.raises(InputError, match=r"is fused of .*Rescore its members"):
        rescore(compose(["logger=none", f"run={place}", "backend=lof"], "command/rescore"), tmp_path / "again")
    with pytest.raises(InputError, match=r"is fused of .*Fuse the runs that it was made of"):
        fused(tmp_path / "nested", place, runs / "trained")


def test_unfit_runs_are_named(runs, tmp_path):
    trained = runs / "trained"
    with pytest.raises(InputError, match="at least two finished runs"):
        fused(tmp_path / "run", trained)
    with pytest.raises(InputError, match=r"weights=\[1, 0\]: give one number above 0 for each of the 2 runs"):
        fused(tmp_path / "run", trained, runs / "free", overrides=["weights=[1,0]"])
    with pytest.raises(InputError, match="models:/fan@champion: a registered model only scores"):
        fused(tmp_path / "run", trained, "models:/fan@champion")
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    facts = json.loads((other / "run.json").read_text())
    for change, reason in (
        ({"status": "running"}, "is not finished: `mimii resume"),
        ({"classes": ["fan/id_00", "fan/id_02"]}, r"is a classifier"),
        ({"labels": ["fan/id_00", "fan/id_04"]}, r"knows fan/id_00, fan/id_04, and run=.*same machine IDs"),
    ):
        (other / "run.json").write_text(json.dumps({**facts, **change}))
        with pytest.raises(InputError, match=reason):
            fused(tmp_path / "run", trained, other)
    (other / "run.json").write_text(json.dumps(facts))
    lines = (other / "scores.csv").read_text().splitlines()
    (other / "scores.csv").write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(InputError, match=r"0 of its 14 test clips are not among the 16 .*and 2 of these"):
        fused(tmp_path / "run", trained, other)
    (other / "held_out.csv").unlink()
    with pytest.raises(InputError, match=r"held_out.csv is missing: .*earlier version.*mimii rescore"):
        fused(tmp_path / "run", trained, other)
    assert not (tmp_path / "run").exists()


def test_clips_that_nobody_else_held_out_are_explained(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs / "trained", other)
    table = (other / "held_out.csv").read_text().replace("normal_id", "other_id")
    (other / "held_out.csv").write_text(table)
    with pytest.raises(InputError, match=r"held out by all of them \(dense_ae 4, dense_ae__2 4\).*protocol and seed"):
        fused(tmp_path / "run", runs / "trained", other)


# --- damage and attacks ----------------------------------------------------------------------------------------------
@pytest.fixture
def copied(runs, tmp_path):
    shutil.copytree(runs / "fused", tmp_path / "copied")
    return tmp_path / "copied"


@pytest.mark.parametrize("name", ["backend.npz", "checkpoints/best.ckpt", "thresholds.json", "run.json", "config.yaml"])
def test_a_damaged_member_is_named(copied, name):
    path = copied / "members" / "committee" / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + b"x" * 20)
    with pytest.raises(InputError, match=f"members/committee/{name} is damaged"):
        mimii_pl.load(copied, device="cpu")
    path.unlink()
    with pytest.raises(InputError, match=f"members/committee/{name} is missing"):
        mimii_pl.load(copied, device="cpu")


@pytest.mark.parametrize("name", ["../trained", "/etc", "dense_ae/../..", ".", "", "a b", "a\nb"])
def test_a_member_outside_is_refused(copied, name):
    facts = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**facts, "members": [name, "committee"]}))
    with pytest.raises(InputError, match=r"run\.json is damaged: members is"):
        mimii_pl.load(copied, device="cpu")


@pytest.mark.parametrize("linked", ["members", "members/committee"])
def test_a_link_in_the_place_of_a_member_is_refused(copied, linked):
    shutil.move(copied / linked, copied.parent / "elsewhere")
    (copied / linked).symlink_to(copied.parent / "elsewhere")
    with pytest.raises(InputError, match=r"members/\w+ is a link: not loaded"):
        mimii_pl.load(copied, device="cpu")


def test_a_fused_run_as_a_member_and_wrong_weights_are_refused(copied, runs):
    config = copied / "config.yaml"
    text = config.read_text()
    for weight in ("-1.0", "nan", "many", "true"):
        config.write_text(text.replace("weight: 1.0", f"weight: {weight}"))
        with pytest.raises(InputError, match=r"config.yaml is damaged: its weights"):
            mimii_pl.load(copied, device="cpu")
    config.write_text(text.replace("    committee:", "    another:"))
    with pytest.raises(InputError, match=r"config.yaml is damaged: its members are dense_ae, another"):
        mimii_pl.load(copied, device="cpu")
    config.write_text(text)
    facts = json.loads((copied / "run.json").read_text())
    facts.pop("digests")
    (copied / "run.json").write_text(json.dumps(facts))
    shutil.rmtree(copied / "members" / "committee")
    shutil.copytree(runs / "fused", copied / "members" / "committee")
    with pytest.raises(InputError, match="A fused run cannot be a member"):
        mimii_pl.load(copied, device="cpu")


def test_a_member_that_is_a_link_is_not_copied(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs / "trained", other)
    (other / "thresholds.json").rename(tmp_path / "kept.json")
    (other / "thresholds.json").symlink_to(tmp_path / "kept.json")
    with pytest.raises(InputError, match=r"thresholds.json is a link: not copied"):
        fused(tmp_path / "run", runs / "trained", other)


def test_members_must_agree_on_the_channel(runs):
    scorer = mimii_pl.load(runs / "fused", device="cpu")
    assert isinstance(scorer, FusedScorer)
    scorer.runs["committee"].channel = 1
    with pytest.raises(InputError, match=r"member committee does not fit: its dataset\.channel is 1"):
        FusedScorer(scorer.runs, {"dense_ae": 1, "committee": 1})


# --- the command line ------------------------------------------------------------------------------------------------
def test_fuse_score_register_and_compare_from_the_command_line(runs, tmp_path):
    place = tmp_path / "outputs" / "one"
    members = f"runs=[{runs / 'trained'},{runs / 'free'}]"
    done = mimii("fuse", members, "report=brief", "efficiency.seconds=0.1", f"hydra.run.dir={place}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 normal clips that all members held out (dense_ae 4, committee 40)" in " ".join(done.stdout.split())
    clip = read_scores(place / "scores.csv")[0]
    options = [f"input={clip.file}", "device=cpu", "output=own.csv"]
    assert mimii("score", f"run={place}", *options, cwd=tmp_path).returncode == 0
    (_, row) = (tmp_path / "own.csv").read_text().splitlines()
    assert float(row.split(",")[2]) == pytest.approx(clip.score, rel=1e-4)
    done = mimii("register", f"run={place}", "name=hall", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = mimii("score", "run=models:/hall@champion", *options[:2], "output=registered.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "registered.csv").read_text() == (tmp_path / "own.csv").read_text()
    done = mimii("compare", "model=fused", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fused: committee, dense_ae" in (tmp_path / "outputs" / "compare" / "compare.csv").read_text()
    done = mimii("record", f"run={place}", cwd=tmp_path)
    assert "MLflow has everything" in done.stdout, done.stderr
    done = mimii("retrain", f"sweep={place}", cwd=tmp_path)
    assert "has no detector to train" in done.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets of Ray
def test_ray_scores_with_a_fused_run(runs, tmp_path):
    pytest.importorskip("ray")
    clips = read_scores(runs / "fused" / "scores.csv")
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(clip.file for clip in clips))
    options = {"input": str(listed), "output": str(tmp_path / "ray.csv"), "device": "cpu"}
    table = score_files(lambda: runs / "fused", engine="ray", workers=1, **options)
    found = [float(line.split(",")[2]) for line in table.read_text().splitlines()[1:]]
    np.testing.assert_allclose(found, [clip.score for clip in clips], rtol=1e-4, atol=1e-5)
