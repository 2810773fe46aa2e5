"""Addresses with passwords work, and no password is in anything that a run leaves or prints."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import mlflow
import pytest
from support import world
from support.cli import mimii, without_mlflow
from support.mlflow_server import behind_password

from mimii_pl.core.addresses import ADDRESSES
from mimii_pl.core.config import CONF
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts
from mimii_pl.run import run
from mimii_pl.tracking.compare import compare
from mimii_pl.tracking.requests import CREDENTIALS, give_credentials

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
USER, PASSWORD = "me", "s3cr@t:p/w%"
SMALL = "model=simple_ae", "trainer=smoke", "report=brief", "efficiency.seconds=0"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("passwords") / "world", train=6, test=2)


@pytest.fixture(scope="module")
def host(server):
    with behind_password(server.url, USER, PASSWORD) as host:
        yield host


@pytest.fixture
def whole(host):
    return f"http://{USER}:{quote(PASSWORD, safe='')}@{host}"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Every test begins without known addresses and credentials, and leaves none."""
    monkeypatch.setenv(ADDRESSES, "{}")
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    yield
    give_credentials("http://nobody")


def start(root, tmp_path, *arguments, **environment):
    data = f"dataset.root={root}", f"dataset.cache_dir={root.parent}/cache"
    given = data if arguments[0] == "train" else ()
    env = {**without_mlflow(), **environment}
    done = mimii(*arguments[:1], *given, *arguments[1:], cwd=tmp_path, env=env)
    check_clean(done.stdout + done.stderr, "screen")
    return done


def check_clean(text, place):
    for form in (PASSWORD, quote(PASSWORD, safe=""), "s3cr"):
        assert form not in text, place


def check_files(*folders):
    files = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        check_clean(path.read_bytes().decode(errors="replace"), path)


@pytest.mark.slow
def test_a_run_and_its_resumption_record_behind_a_password(root, server, host, whole, tmp_path):
    run_dir = tmp_path / "run"
    done = start(root, tmp_path, "train", *SMALL, f"hydra.run.dir={run_dir}", MLFLOW_TRACKING_URI=whole)
    assert done.returncode == 0, done.stderr
    assert "MLflow at" not in done.stdout  # no warning
    assert f"tracking_uri: http://{USER}:***@{host}" in (run_dir / "config.yaml").read_text()
    recorded = mlflow.MlflowClient(server.url).get_run(read_facts(run_dir)["mlflow_run_id"])
    assert recorded.info.status == "FINISHED"

    again = "resume", f"run={run_dir}", "trainer.max_epochs=3"
    done = start(root, tmp_path, *again)
    assert "its password is not stored: set MLFLOW_TRACKING_URI" in re.sub(r"\s+", " ", done.stdout + done.stderr)
    for known in ({"MLFLOW_TRACKING_URI": whole}, {"MLFLOW_TRACKING_PASSWORD": PASSWORD}):
        done = start(root, tmp_path, "record", f"run={run_dir}", **known)
        assert done.returncode == 0, done.stderr
    assert "MLflow has everything" in done.stdout
    check_files(tmp_path, server.folder)


@pytest.mark.slow
def test_a_sweep_in_processes_of_their_own_records_behind_a_password(root, server, whole, tmp_path):
    sweep_dir, two = tmp_path / "sweep", ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    given = f"trainer.logger.tracking_uri='{whole}'", f"hydra.sweep.dir={sweep_dir}"
    data = f"dataset.root={root}", f"dataset.cache_dir={root.parent}/cache"
    command = [sys.executable, CONF.parent / "train.py", *SMALL, *data, "-m", "seed=0,1", *two, *given]
    done = subprocess.run(command, cwd=tmp_path, env=without_mlflow(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check_clean(done.stdout + done.stderr, "screen")
    client = mlflow.MlflowClient(server.url)
    parent = client.get_run(json.loads((sweep_dir / "sweep.json").read_text())["mlflow_run_id"])
    children = [client.get_run(read_facts(child)["mlflow_run_id"]) for child in sweep_dir.glob("[01]-*")]
    assert [one.info.status for one in (parent, *children)] == ["FINISHED"] * 3
    check_files(tmp_path, server.folder)


@pytest.mark.slow
def test_a_wrong_password_is_one_line(root, host, tmp_path):
    given = f"trainer.logger.tracking_uri=http://{USER}:s3crwrong@{host}"
    done = start(root, tmp_path, "train", *SMALL, given)
    assert done.returncode == 1
    assert re.search(r"^error: http://me:\*\*\*@\S+: MLflow cannot open this store: .*401.*logger=none$", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["http://tok3n@{}", "http://tok3n:@{}"])
def test_a_token_as_the_user(root, server, tmp_path, spelling):
    with behind_password(server.url, "tok3n", "") as host:
        run_dir = tmp_path / "run"
        given = f"trainer.logger.tracking_uri={spelling.format(host)}", f"hydra.run.dir={run_dir}"
        done = start(root, tmp_path, "train", *SMALL, *given)
    assert done.returncode == 0, done.stderr
    assert mlflow.MlflowClient(server.url).get_run(read_facts(run_dir)["mlflow_run_id"]).info.status == "FINISHED"
    assert "tok3n" not in done.stdout + done.stderr + "".join(path.read_text() for path in run_dir.glob("*.[yj]*"))


@pytest.mark.slow
def test_the_python_interface_hides_it_too(root, server, whole, tmp_path):
    options = "logger=mlflow", f"trainer.logger.tracking_uri={whole}"
    run(world.configured(root, *SMALL, *options), tmp_path / "run")
    recorded = mlflow.MlflowClient(server.url).get_run(read_facts(tmp_path / "run")["mlflow_run_id"])
    assert recorded.info.status == "FINISHED"
    check_files(tmp_path / "run")
    with pytest.raises(InputError) as error:
        compare(tracking_uri=whole, only={"machine": "valve"}, output=tmp_path)
    check_clean(str(error.value), "error")


def test_the_password_of_a_search_storage_is_in_no_message(root, tmp_path):
    given = "sweep=random", f"sweep.storage=postgresql://{USER}:s3cret@127.0.0.1:9/studies", "logger=none"
    done = start(root, tmp_path, "train", *SMALL, *given)
    assert done.returncode == 1
    assert done.stderr.startswith("error: sweep.storage=postgresql://me:***@127.0.0.1:9/studies: Optuna cannot open it")
    for path in tmp_path.rglob("*.*"):
        assert path.is_dir() or "s3cret" not in path.read_text()


def test_credentials_are_given_to_their_own_server_only(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "mine")
    assert give_credentials("http://me:s%40cret@host:5000/path") == "http://host:5000/path"
    assert [os.environ[name] for name in CREDENTIALS] == ["me", "s@cret"]
    assert give_credentials("http://other") == "http://other"
    assert [os.environ.get(name) for name in CREDENTIALS] == ["mine", None]
