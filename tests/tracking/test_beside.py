"""Another process talks to MLflow: what it was told later than it was forked, and what becomes of its death."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext

import mlflow
import pytest
from omegaconf import OmegaConf
from support import world

from mimii_pl.__main__ import _recording
from mimii_pl.core.addresses import ADDRESSES, without_password
from mimii_pl.core.run_dir import read_facts
from mimii_pl.tracking import beside
from mimii_pl.tracking.beside import importing_mlflow, there
from mimii_pl.tracking.description import RunDescription
from mimii_pl.tracking.logger import Recorder, RunLogger
from mimii_pl.tracking.remote import KEY
from mimii_pl.tracking.requests import LIMITS, brief_requests

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="no second process is started here"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _room(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # as a user's shell has none
    monkeypatch.setattr(beside, "IMPORTED", ())  # this process has imported MLflow


def number(*_):
    return os.getpid()


def variable(name):
    return os.environ.get(name)


def kept(uri, run_dir):
    """Status, metrics, parameters and files of the only run of a run directory."""
    client, facts = mlflow.MlflowClient(uri), read_facts(run_dir)
    experiment = client.get_experiment_by_name("mimii_pl").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`{KEY}` = '{facts['mlflow_key']}'")
    assert run.info.run_id == facts["mlflow_run_id"]
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    return run.info.status, run.data.metrics, run.data.params, files


@pytest.fixture
def begun(tmp_path):
    """A run directory, its store, and a function that makes its recorder."""
    run_dir, uri = tmp_path / "run", f"sqlite:///{tmp_path}/mlflow.db"
    run_dir.mkdir()
    description = RunDescription("run", {"run_dir": str(run_dir)}, {"model": "none"})
    return run_dir, uri, lambda store=uri: Recorder(RunLogger(tracking_uri=store), run_dir, description)


def test_a_function_is_called_there_with_what_the_environment_says_now(monkeypatch):
    assert there(number) == os.getpid()
    with importing_mlflow():
        assert there(number) != os.getpid()
        with brief_requests(7):
            assert there(variable, LIMITS[1]) == "7"
        assert there(variable, LIMITS[1]) == variable(LIMITS[1])
        monkeypatch.setenv(ADDRESSES, "{}")
        without_password("http://me:of-this-test@host:5000")
        assert "of-this-test" in there(variable, ADDRESSES)
        with pytest.raises(ZeroDivisionError):
            there(divmod, 1, 0)
    assert there(number) == os.getpid()


@pytest.mark.parametrize("killed", ["never", "before it begins", "while it runs"])
def test_a_run_is_recorded_there_or_here_once_that_is_dead(begun, killed):
    run_dir, uri, recorder_of = begun
    with importing_mlflow():
        if killed == "before it begins":
            os.kill(there(number), signal.SIGKILL)
        recorder = recorder_of()
        recorder.require_store()
        recorder.start()
        if killed == "while it runs":
            os.kill(there(number), signal.SIGKILL)
        with recorder.sending():
            recorder.logger.log_metrics({"loss": 0.5}, 0)
            recorder.logger.log_hyperparams({"more": 1})
        assert (there(number) == os.getpid()) == (killed != "never")
        (run_dir / "results.csv").write_text("machine,id,metric,value,low,high\n")
        recorder.finish([], {"sensitivity": 0.75})
    status, metrics, params, files = kept(uri, run_dir)
    assert (status, metrics) == ("FINISHED", {"loss": 0.5, "val/sensitivity": 0.75})
    assert params == {"model": "none", "more": "1"}
    assert "results.csv" in files
    assert recorder_of().is_kept("FINISHED")


def test_the_client_of_the_logger_is_opened_here_when_it_is_asked(begun):
    *_, recorder_of = begun
    with importing_mlflow():
        recorder = recorder_of()
        recorder.start()
        client = recorder.logger.experiment
        assert client.get_run(recorder.logger.run_id).info.status == "RUNNING"
        client.set_tag(recorder.logger.run_id, "mine", "1")
        recorder.end("KILLED")
        assert client.get_run(recorder.logger.run_id).info.status == "KILLED"


@pytest.mark.slow
def test_where_the_process_is_killed_a_server_is_asked_from_here(server, begun):
    run_dir, _, recorder_of = begun
    with importing_mlflow():
        recorder = recorder_of(server.url)
        recorder.start()
        os.kill(there(number), signal.SIGKILL)
        recorder.logger.log_metrics({"loss": 0.5}, 0)
        recorder.end("KILLED")  # its limits of time are held by this thread while it waits
    assert kept(server.url, run_dir)[:2] == ("KILLED", {"loss": 0.5})


@pytest.mark.slow
def test_a_callback_gets_a_client_that_does_nothing_while_the_server_is_down(server, begun):
    *_, recorder_of = begun
    with importing_mlflow():
        recorder = recorder_of(server.url)
        recorder.start()
        assert recorder.logger.experiment.get_run(recorder.logger.run_id).info.status == "RUNNING"
        server.kill()
        try:
            with recorder.sending():
                recorder.logger.log_metrics({"loss": 0.5}, 0)
            assert recorder.logger.run_id
            recorder.logger.experiment.set_tag(recorder.logger.run_id, "mine", "1")
        finally:
            server.start()


def test_the_first_of_several_loggers_counts():
    mlflow_logger = {"_target_": "mimii_pl.tracking.logger.RunLogger"}
    other = {"_target_": "pytorch_lightning.loggers.CSVLogger"}
    for logger, expected in (
        (mlflow_logger, True),
        ([mlflow_logger, other], True),
        ([other, mlflow_logger], False),
        (other, False),
        ([], False),
        (False, False),
        (None, False),
    ):
        found = _recording(OmegaConf.create({"trainer": {"logger": logger}}))
        assert isinstance(found, nullcontext) != expected


@pytest.mark.slow
def test_a_run_imports_no_mlflow(tmp_path):
    root = world.write(tmp_path / "world", train=6, test=2)
    options = [f"dataset.root={root}", f"dataset.cache_dir={tmp_path}/cache", f"hydra.run.dir={tmp_path}/run"]
    command = ["train", "model=spectrum", "machine=fan", "report=brief", "efficiency.seconds=0", *options]
    code = "import sys; from mimii_pl.__main__ import main; main(sys.argv[1:]); assert 'mlflow' not in sys.modules"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    status, metrics, *_, files = kept(f"sqlite:///{tmp_path}/mlruns/mlflow.db", tmp_path / "run")
    assert status == "FINISHED"
    assert {"val/loss", "val/sensitivity", "test/auc/id_00"} <= metrics.keys()
    assert {"config.yaml", "results.csv", "report.html", "checkpoints"} <= files
