"""A task of a package of a user's own: it runs, and where a run is read again it must be trusted."""

import mlflow
import pytest
from support import world
from support.cli import mimii

from mimii_pl.core.run_dir import read_facts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::ResourceWarning"),
]
OWN = "model=dense_ae", "trainer=smoke", "report=brief", "efficiency.seconds=0", "task._target_=support.own.OwnTask"
REFUSED = "task._target_=support.own.OwnTask: not loaded: its package is not trusted"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A folder with a sweep of two runs, its MLflow store beside it."""
    folder = tmp_path_factory.mktemp("own")
    root = world.write(folder / "world", train=6, test=2)
    options = f"dataset.root={root}", "dataset.cache_dir=cache", "hydra.sweep.dir=sweep"
    done = mimii("train", "-m", "seed=0,1", *OWN, *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "has failed" not in done.stderr
    return folder / "sweep"


def test_its_runs_are_on_the_leaderboard(sweep):
    lines = (sweep / "leaderboard.csv").read_text().splitlines()
    assert len(lines) == 3
    assert {read_facts(child)["status"] for child in sweep.glob("[01]-*")} == {"finished"}


@pytest.mark.parametrize(
    "command",
    [
        ("record", "run=sweep"),
        ("register", "run=sweep"),
        ("decide", "run=sweep/0-dense_ae-fan", "threshold=gamma", "report=brief"),
        ("retrain", "sweep=sweep", "seed=0", "trainer.max_epochs=1"),
    ],
    ids=lambda command: command[0],
)
def test_it_is_read_again_once_it_is_trusted(command, sweep):
    for sent in sweep.glob("*/mlflow.sent"):
        sent.unlink()
    refused = mimii(*command, cwd=sweep.parent)
    assert refused.returncode == 1
    assert REFUSED in refused.stderr
    done = mimii(*command, "trust=[support]", cwd=sweep.parent)
    assert done.returncode == 0, done.stderr
    if command[0] == "record":
        assert done.stdout.count("recorded as FINISHED") == 2


def test_a_run_of_it_that_breaks_is_marked_as_failed(sweep):
    broken = "trainer.callbacks=[{_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: nothing}]"
    options = f"dataset.root={sweep.parent}/world", "dataset.cache_dir=cache", "hydra.run.dir=broken"
    assert mimii("train", *OWN, broken, *options, cwd=sweep.parent).returncode != 0
    client = mlflow.MlflowClient(f"sqlite:///{sweep.parent}/mlruns/mlflow.db")
    run_id = read_facts(sweep.parent / "broken")["mlflow_run_id"]
    assert client.get_run(run_id).info.status == "FAILED"
