"""Judging a finished run again by other back ends."""

import subprocess
import sys

import numpy as np
import pytest
import world

import mimii_pl
from mimii_pl import _config, _run_dir
from mimii_pl.errors import InputError
from mimii_pl.rescore import rescore
from mimii_pl.run import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rescore")
    root = world.write(folder / "world", train=12, test=4)
    run(world.configured(root, "model=dense_ae", "trainer=smoke", "backend=lof"), folder / "outputs" / "trained")
    return folder / "outputs" / "trained"


def again(trained, run_dir, *overrides):
    rescore(_config.compose(["logger=none", f"run={trained}", *overrides], name="rescore"), run_dir)
    return run_dir


def test_the_same_back_end_gives_the_same_scores(trained, tmp_path):
    rescored = again(trained, tmp_path / "lof", "backend=lof")
    assert (rescored / "scores.csv").read_text() == (trained / "scores.csv").read_text()
    assert (rescored / "results.csv").read_text() == (trained / "results.csv").read_text()
    facts = _run_dir.facts_of(rescored)
    assert facts["rescored_from"] == str(trained)
    assert facts["pseudo_auc"] == _run_dir.facts_of(trained)["pseudo_auc"]


@pytest.mark.parametrize("backend", ["none", "knn", "isolation_forest"])
def test_the_result_is_a_run_directory_like_any_other(trained, tmp_path, backend):
    rescored = again(trained, tmp_path / backend, f"backend={backend}")
    rows = [line.split(",") for line in (rescored / "scores.csv").read_text().splitlines()[1:]]
    scores = mimii_pl.load(rescored, device="cpu").score([row[3] for row in rows], machine_id=[row[1] for row in rows])
    np.testing.assert_allclose(scores, [float(row[5]) for row in rows], rtol=1e-5, atol=1e-6)
    assert (rescored / "report.html").is_file()


def test_embeddings_are_kept_with_what_is_known_of_the_clips(trained):
    kept = _run_dir.read_arrays(trained / "embeddings.npz")
    assert kept["embedding"].shape == (24 + 16, 8)
    assert sorted(set(kept["split"])) == ["test", "train", "validation"]
    assert {"machine", "machine_id", "path"} < set(kept)
    assert "label" not in kept


def test_latest_is_the_newest_run_that_was_trained(trained, tmp_path, monkeypatch):
    again(trained, trained.parent / "rescored", "backend=knn")
    monkeypatch.chdir(trained.parents[1])
    assert _run_dir.find("latest").name == "rescored"
    assert _run_dir.find("latest", trained=True).name == "trained"


def test_an_unfinished_run_is_explained(trained, tmp_path):
    for path in ("run.json", "config.yaml"):
        (tmp_path / path).write_text((trained / path).read_text().replace('"finished"', '"running"'))
    with pytest.raises(InputError, match="is not finished"):
        again(tmp_path, tmp_path / "again")


@pytest.mark.slow
def test_a_sweep_over_back_ends_from_the_command_line(trained, tmp_path):
    script = _config.CONF.parent / "rescore.py"
    command = [sys.executable, script, f"run={trained}", "-m", "backend=knn,gmm,mahalanobis"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    board = next(tmp_path.rglob("leaderboard.csv")).read_text()
    assert [board.count(name) for name in ("knn", "gmm", "mahalanobis")] == [2, 2, 2]  # column and name of the run
    assert (tmp_path / "mlruns" / "mlflow.db").is_file()
