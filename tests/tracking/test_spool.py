"""The spool of a run's points: nothing is lost, doubled or torn, whatever happens to the process or the disk."""

import json
import os
from itertools import pairwise

import pytest
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import write_facts
from mimii_pl.tracking.description import RunDescription
from mimii_pl.tracking.logger import Recorder, RunLogger
from mimii_pl.tracking.spool import BATCH_VALUES, LINE_VALUES, Spool


def points(run_dir):
    lines = [json.loads(line) for line in (run_dir / "mlflow.jsonl").read_text().splitlines()]
    return [(name, line["step"], value) for line in lines for name, value in line.get("metrics", {}).items()]


def test_a_resumed_run_logs_no_step_twice(tmp_path):
    for first in (0, 2):  # resumed from the checkpoint after two steps
        spool = Spool(tmp_path)
        for step in range(first, first + 4):
            spool.add({"loss": step / 10, "rate": 1.0}, step)
        spool.add_params({"lr": 0.1 + first, "width": 8})
    assert points(tmp_path) == [point for step in range(6) for point in (("loss", step, step / 10), ("rate", step, 1))]
    assert Spool(tmp_path).unsent("a").params == {"lr": "0.1", "width": "8"}


def test_a_figure_is_there_once_and_a_changed_one_comes_after_it(tmp_path):
    for value in (0.5, 0.5, 0.75, 0.75, 0.5):
        Spool(tmp_path).add_results({"test/auc/id_00": value, "efficiency/parameters": 10.0})
    assert points(tmp_path) == [
        ("test/auc/id_00", 0, 0.5),
        ("efficiency/parameters", 0, 10),
        ("test/auc/id_00", 1, 0.75),
        ("test/auc/id_00", 2, 0.5),
    ]


def test_a_line_that_a_kill_cut_is_replaced(tmp_path):
    Spool(tmp_path).add({"loss": 1.0}, 0)
    Spool(tmp_path).add({"loss": 2.0}, 1)
    for length in range(1, 40):
        whole = (tmp_path / "mlflow.jsonl").read_bytes()
        (tmp_path / "mlflow.jsonl").write_bytes(whole[:-length])
        assert [value for _, value, _, _ in Spool(tmp_path).unsent("a").points] == [1]
        Spool(tmp_path).add({"loss": 2.0}, 1)
        assert points(tmp_path) == [("loss", 0, 1), ("loss", 1, 2)]


@pytest.mark.parametrize(
    "line",
    [
        '{"params": "x"}',
        '{"params": {"a": 1}}',
        '{"metrics": [1]}',
        '{"metrics": {"a": "high"}, "step": 0, "time": 0}',
        '{"metrics": {"a": 1.0}}',
        "[]",
        '"x"',
        "3",
        "null",
    ],
)
def test_a_line_that_is_none_of_ours_is_named(tmp_path, line):
    (tmp_path / "mlflow.jsonl").write_text(line + "\n")
    for reader in (lambda spool: spool.unsent("run"), lambda spool: spool.add({"loss": 1.0}, 1)):
        with pytest.raises(InputError, match=r"mlflow\.jsonl is damaged"):
            reader(Spool(tmp_path))


def test_batches_hold_what_mlflow_takes_and_together_everything(tmp_path):
    spool = Spool(tmp_path)
    names = [f"metric {number}" for number in range(7)]
    for step in range(400):
        spool.add(dict.fromkeys(names, float(step)), step)
    spool.add({f"many {number}": 0.0 for number in range(1234)}, 0)
    spool.add_params({f"option {number}": number for number in range(321)})
    sent, params, ends = [], {}, [0]
    while batch := spool.unsent("a"):
        assert len(batch.points) <= BATCH_VALUES
        assert len(batch.params) <= LINE_VALUES
        spool.mark_sent("a", batch.end)
        sent, params, ends = sent + batch.points, {**params, **batch.params}, [*ends, batch.end]
    assert all(start < end for start, end in pairwise(ends))
    assert len(set(sent)) == len(sent) == 7 * 400 + 1234
    assert len(params) == 321


def test_another_mlflow_run_gets_everything_and_a_further_point_ends_the_end(tmp_path):
    spool = Spool(tmp_path)
    spool.add({"loss": 1.0}, 0)
    spool.mark_sent("a", spool.unsent("a").end, "FINISHED")
    assert spool.ended("FINISHED")
    assert not spool.ended("FAILED")
    assert spool.unsent("a") is None
    assert len(spool.unsent("b").points) == 1
    spool.add({"loss": 2.0}, 1)
    assert not Spool(tmp_path).ended("FINISHED")
    assert len(spool.unsent("a").points) == 1
    spool.mark_sent("a")
    assert Spool(tmp_path).unsent("a").points[0][1] == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full")
def test_a_full_disk_ends_no_training_and_is_named_once(tmp_path, caplog):
    (tmp_path / "mlflow.jsonl").symlink_to("/dev/full")
    write_facts(tmp_path, status="running")
    logger = RunLogger(tracking_uri="http://127.0.0.1:9")
    Recorder(logger, tmp_path, RunDescription("run", {}, {}))
    logger.log_metrics({"loss": 1.0}, 0)
    logger.log_metrics({"loss": 2.0}, 1)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}/mlflow.jsonl: No space left on device: points for MLflow are lost from now on"
    ]


def test_only_the_first_process_of_a_run_records(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = RunLogger(tracking_uri="http://127.0.0.1:9")
    recorder = Recorder(logger, tmp_path, RunDescription("run", {}, {}))
    recorder.start()
    with recorder.sending():
        logger.log_metrics({"loss": 1.0}, 0)
    recorder.end("FAILED")
    assert not list(tmp_path.iterdir())


def test_a_logger_that_no_recorder_has_is_explained():
    logger = RunLogger(tracking_uri="http://127.0.0.1:9")
    assert (logger.run_id, logger.version) == (None, None)
    with pytest.raises(InputError, match="of several loggers, the first must be that of MLflow"):
        logger.log_metrics({"loss": 1.0}, 0)
