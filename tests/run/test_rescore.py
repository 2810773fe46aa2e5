"""A finished run scored again by other back ends."""

import json
import shutil

import numpy as np
import pytest
from omegaconf import OmegaConf
from support import world
from support.cli import mimii

import mimii_pl
from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import read_arrays
from mimii_pl.core.run_dir import find_run, read_facts
from mimii_pl.rerun import decide, rescore
from mimii_pl.run import run
from mimii_pl.scoring.results import read_results
from mimii_pl.scoring.scores import read_scores

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rescore")
    root = world.write(folder / "world", train=12, test=4)
    run(world.configured(root, "model=dense_ae", "trainer=smoke", "backend=lof"), folder / "outputs" / "trained")
    return folder / "outputs" / "trained"


def again(trained, run_dir, *overrides):
    rescore(
        compose(["logger=none", "efficiency.seconds=0.1", f"run={trained}", *overrides], "command/rescore"),
        run_dir,
    )
    return run_dir


def test_the_same_back_end_gives_the_same_scores(trained, tmp_path):
    rescored = again(trained, tmp_path / "lof", "backend=lof")
    assert (rescored / "scores.csv").read_text() == (trained / "scores.csv").read_text()
    assert (rescored / "results.csv").read_text() == (trained / "results.csv").read_text()
    facts = read_facts(rescored)
    assert facts["rescored_from"] == str(trained)
    assert facts["train_seconds"] == read_facts(trained)["train_seconds"]
    assert facts["ms_per_clip"] > 0
    assert facts["sensitivity"] == read_facts(trained)["sensitivity"]


@pytest.mark.parametrize("backend", ["none", "knn", "isolation_forest"])
def test_the_result_is_a_run_directory_like_any_other(trained, tmp_path, backend):
    rescored = again(trained, tmp_path / backend, f"backend={backend}")
    rows = [line.split(",") for line in (rescored / "scores.csv").read_text().splitlines()[1:]]
    scores = mimii_pl.load(rescored, device="cpu").score([row[3] for row in rows], machine_id=[row[1] for row in rows])
    np.testing.assert_allclose(scores, [float(row[5]) for row in rows], rtol=1e-5, atol=1e-6)
    assert (rescored / "report.html").is_file()


def test_embeddings_are_kept_with_what_is_known_of_the_clips(trained):
    kept = read_arrays(trained / "embeddings.npz")
    assert kept["embedding"].shape == (24 + 16, 8)
    assert sorted(set(kept["split"])) == ["test", "train", "validation"]
    assert {"machine", "machine_id", "path"} < set(kept)
    assert "label" not in kept


def test_latest_is_the_newest_run_that_was_trained(trained, tmp_path, monkeypatch):
    again(trained, trained.parent / "rescored", "backend=knn")
    monkeypatch.chdir(trained.parents[1])
    assert find_run("latest").name == "rescored"
    assert find_run("latest", trained=True).name == "trained"


def test_a_detector_without_embeddings_has_no_use_for_a_back_end(trained, tmp_path):
    root = trained.parents[1] / "world"
    run(world.configured(root, "model=anogan", "model.steps=1", "trainer=smoke"), tmp_path / "anogan")
    with pytest.raises(InputError, match="model=anogan has no embedding for backend=lof"):
        again(tmp_path / "anogan", tmp_path / "again", "backend=lof")


def test_an_unfinished_run_is_explained(trained, tmp_path):
    for path in ("run.json", "config.yaml"):
        (tmp_path / path).write_text((trained / path).read_text().replace('"finished"', '"running"'))
    with pytest.raises(InputError, match="is not finished"):
        again(tmp_path, tmp_path / "again")


@pytest.mark.slow
def test_a_sweep_over_back_ends_from_the_command_line(trained, tmp_path):
    done = mimii("rescore", f"run={trained}", "-m", "backend=knn,gmm,mahalanobis", "report=brief", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    board = next(tmp_path.rglob("leaderboard.csv")).read_text()
    assert [board.count(name) for name in ("knn", "gmm", "mahalanobis")] == [
        3,
        3,
        3,
    ]  # column, name of the detector and of the run
    assert (tmp_path / "mlruns" / "mlflow.db").is_file()


def test_other_thresholds_change_decisions_and_nothing_else(trained, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    before = read_scores(run_dir / "scores.csv")
    decide(compose([f"run={run_dir}", "threshold=youden"], name="command/decide"))
    after = read_scores(run_dir / "scores.csv")
    assert [clip[:6] for clip in after] == [clip[:6] for clip in before]
    state = json.loads((run_dir / "thresholds.json").read_text())
    assert state["origin"].startswith("oracle")
    assert "oracle" in (run_dir / "report.html").read_text()
    for clip in after:
        limit = state["thresholds"].get(f"{clip.machine}/{clip.id}", state["thresholds"]["all"])
        assert clip.decision == (clip.score > limit)
    assert OmegaConf.load(run_dir / "config.yaml").choices.threshold == "youden"
    scorer = mimii_pl.load(run_dir, device="cpu")
    decisions = scorer.decide([clip.file for clip in after], machine_id=[clip.id for clip in after])
    assert decisions.anomalous.tolist() == [clip.decision == 1 for clip in after]
    value = {(r.id, r.metric): r.value for r in read_results(run_dir / "results.csv")}
    own = [clip for clip in after if clip.id == "id_00"]
    assert value["id_00", "accuracy"] == np.mean([clip.label == clip.decision for clip in own])
    unchanged = {r for r in read_results(trained / "results.csv") if "auc" in r.metric}
    assert unchanged <= set(read_results(run_dir / "results.csv"))


def test_a_file_in_the_place_of_a_folder_is_named_with_the_way_out(trained, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    shutil.rmtree(run_dir / "challenge")
    (run_dir / "challenge").write_text("mine")
    with pytest.raises(InputError, match=rf"^{run_dir / 'challenge'} cannot be written: File exists\. Move away what"):
        decide(compose([f"run={run_dir}", "threshold=gamma"], name="command/decide"))
    assert (run_dir / "scores.csv").read_text() == (trained / "scores.csv").read_text()
