"""Eight processes record runs into one MLflow store at once: errors, lost runs, lost metrics, seconds.

A run is the real thing: a Recorder that starts, sends the losses of each epoch in the background, and finishes with the
results and artifacts. The stores: a new SQLite database as MLflow makes it, as `open_store` makes it with a write-ahead
log, and an MLflow server on this machine.

    python benchmarks/parallel_store.py [writers=8] [runs of each=6]
"""

import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path

from _bench import seconds, show

from mimii_pl.tracking.store import open_store

EPOCHS, MACHINE_IDS = 30, 60  # 5 metrics an epoch, 4 per machine ID at the end: 390 metrics a run


def record(tracking_uri: str, folder: str, first: int, runs: int) -> tuple[list[str], float, float]:
    """Record some runs; the errors, and the longest that logging took, and beginning or ending a run."""
    from omegaconf import OmegaConf

    from mimii_pl.core.config import compose
    from mimii_pl.core.run_dir import write_facts
    from mimii_pl.scoring.results import Result
    from mimii_pl.tracking.description import describe_run
    from mimii_pl.tracking.logger import Recorder, RunLogger

    errors, logging, others = [], [0.0], [0.0]
    for number in range(first, first + runs):
        run_dir = Path(folder, f"run{number}")
        run_dir.mkdir()
        try:
            store = f"trainer.logger.tracking_uri={tracking_uri}"
            cfg = compose([f"run_dir={run_dir}", f"seed={number}", store])
            OmegaConf.resolve(cfg)
            (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
            (run_dir / "best.ckpt").write_bytes(bytes(100_000))
            write_facts(run_dir, checkpoint="best.ckpt")
            logger = RunLogger(tracking_uri=tracking_uri)
            recorder = Recorder(logger, run_dir, describe_run(cfg, run_dir))
            others.append(seconds(recorder.start))
            with recorder.sending():
                for epoch in range(EPOCHS):
                    values = {f"metric{name}": float(epoch) for name in range(5)}
                    logging.append(seconds(lambda: logger.log_metrics(values, step=epoch)))  # noqa: B023
            results = [
                Result("fan", f"id_{id_:02d}", metric, 0.5)
                for id_ in range(MACHINE_IDS)
                for metric in ("auc", "pauc", "pr_auc", "level_auc")
            ]
            others.append(seconds(lambda: recorder.finish(results, {"pseudo_auc": 0.5})))  # noqa: B023
        except Exception as error:
            errors.append(f"{type(error).__name__}: {str(error)[:150]}")
    return errors, max(logging), max(others)


def kept(tracking_uri: str) -> tuple[int, int]:
    """Runs in the store that are finished with every metric, and all runs."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name("mimii_pl")
    runs = client.search_runs([experiment.experiment_id], max_results=50_000)
    whole = [run for run in runs if run.info.status == "FINISHED" and len(run.data.metrics) == 5 + 4 * MACHINE_IDS + 1]
    histories = [len(client.get_metric_history(run.info.run_id, "metric0")) for run in whole]
    return sum(length == EPOCHS for length in histories), len(runs)


def write_ahead(folder: Path) -> str:
    """A SQLite store in WAL mode, which the database file remembers."""
    uri = f"sqlite:///{folder}/mlflow.db"
    open_store(uri, "mimii_pl")
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
    return uri


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """An MLflow server over a database of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "kept")]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "2", *stores]
    with open(folder / "log", "w") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def measure(name: str, tracking_uri: str, folder: Path, writers: int, runs: int) -> list:
    place = folder / name.replace(", ", "-").replace(" ", "-")
    place.mkdir()
    started = time.perf_counter()
    with ProcessPoolExecutor(writers, mp_context=get_context("spawn")) as pool:
        done = [pool.submit(record, tracking_uri, str(place), one * runs, runs) for one in range(writers)]
        errors, logging, others = zip(*(future.result() for future in done), strict=True)
    took = time.perf_counter() - started
    for error in {error for some in errors for error in some}:
        print(name, error)
    whole, there = kept(tracking_uri)
    lost, half = writers * runs - whole, there - whole
    return [name, writers * runs, sum(map(len, errors)), lost, half, max(logging), max(others), took]


def main(writers: int = 8, runs: int = 6) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        rows.append(measure("sqlite", f"sqlite:///{folder}/store/mlflow.db", folder, writers, runs))
        rows.append(measure("sqlite, write-ahead log", write_ahead(folder / "wal"), folder, writers, runs))
        with server(folder) as uri:
            rows.append(measure("server", uri, folder, writers, runs))
    columns = ["store", "runs", "errors", "lost", "half recorded", "longest log, s", "longest start or end, s", "s"]
    show(f"{writers} processes record at once", columns, rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
