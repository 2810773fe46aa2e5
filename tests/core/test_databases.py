"""SQLite databases of MLflow and Optuna: whole after a kill at any moment, and one line for a broken one."""

import multiprocessing
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from support.cli import mimii
from support.shut import shut

from mimii_pl.core.databases import make_whole, sqlite_path, tables
from mimii_pl.core.errors import InputError
from mimii_pl.sweep.search import _open_storage
from mimii_pl.tracking.store import open_client, open_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
KILLS = 20


def _open_mlflow(url: str) -> None:
    open_store(url, "mimii_pl")


@pytest.mark.slow
@pytest.mark.parametrize(("opened", "needed"), [(_open_mlflow, "experiments"), (_open_storage, "studies")])
def test_a_kill_at_any_moment_leaves_a_whole_database_or_none(whole, tmp_path, opened, needed):
    context, path = multiprocessing.get_context("fork"), tmp_path / "runs" / "some.db"
    start = time.monotonic()
    _ended(context.Process(target=opened, args=(f"sqlite:///{tmp_path}/timed.db",)), 60)
    seconds = time.monotonic() - start
    leftovers = 0
    for number in range(KILLS):  # every other one after the making has begun, which a busy machine delays
        making = context.Process(target=opened, args=(f"sqlite:///{path}",))
        share = seconds * (number + 1) / KILLS
        _ended(making, *((share / 2, path.parent) if number % 2 else (share,)))
        leftovers += len(list(path.parent.glob("*.partial")))
        if path.exists():
            with closing(sqlite3.connect(path)) as database:
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            opened(f"sqlite:///{path}")
            path.unlink()
    opened(f"sqlite:///{path}")
    assert leftovers > KILLS // 4  # else the kills came before or after the making
    assert needed in tables(path)
    assert {item.name for item in path.parent.iterdir()} <= {"some.db", "some.db.lock"}


def _ended(process: multiprocessing.Process, seconds: float, folder: Path | None = None) -> None:
    """Kill a process so many seconds after its start, or after it has begun to make a database in a folder."""
    process.start()
    while folder is not None and process.is_alive() and not any(folder.glob(f"*.{process.pid}.partial")):
        time.sleep(0.001)
    process.join(seconds)
    process.kill()
    process.join()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A database of MLflow; it also has the imports done that a forked process would begin with."""
    path = tmp_path_factory.mktemp("whole") / "mlflow.db"
    open_client(f"sqlite:///{path}")
    return path


def _change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            database.execute(statement)
        database.commit()


BROKEN = {  # what is done to the file, or to a whole database -> what the message says
    "no database": (lambda path: path.write_bytes(b"runs " * 1000), "not a database.*move it away"),
    "empty": (lambda path: path.write_bytes(b""), "incomplete .* holds no runs.*Move it away"),
    "cut": (lambda path: os.truncate(path, 9000), "move it away, or restore it"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
    "begun": (lambda path: _change(path, "DROP TABLE issues", "DELETE FROM experiments"), "incomplete.* table issues"),
    "earlier": (lambda path: _change(path, "DROP TABLE issues"), "earlier version.*mlflow db upgrade sqlite:"),
    "other schema": (lambda path: _change(path, "UPDATE alembic_version SET version_num = '1'"), "mlflow db upgrade"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_database_is_named_with_what_to_do_and_left_alone(whole, tmp_path, fault):
    path = tmp_path / "mlflow.db"
    shutil.copy(whole, path)
    breaks, message = BROKEN[fault]
    breaks(path)
    if path.is_file():
        os.utime(path, (1e9, 1e9))  # nobody is making it
    before = path.is_file() and path.read_bytes()
    with pytest.raises(InputError, match=rf"^\S*mlflow.db.*{message}.*tracking_uri.*logger=none") as error:
        open_client(f"sqlite:///{path}")
    assert "\n" not in str(error.value)
    assert (path.is_file() and path.read_bytes()) == before


def test_the_journal_of_a_database_that_is_gone_is_not_applied_to_a_new_one(tmp_path):
    (tmp_path / "mlflow.db-journal").write_bytes(b"of the old one")
    with pytest.raises(InputError, match=r"mlflow.db-journal belongs to a database that is gone"):
        make_whole(tmp_path / "mlflow.db", lambda url: None)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/mlflow.db cannot be made: .*logger=none"):
        open_client(f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(InputError, match=r"file/optuna.db cannot be made: .*sweep.storage"):
        _open_storage(f"sqlite:///{tmp_path}/file/optuna.db")


def test_a_storage_that_is_read_only_is_named(tmp_path):
    url = f"sqlite:///{tmp_path}/optuna.db"
    _open_storage(url)
    before = (tmp_path / "optuna.db").read_bytes()
    _open_storage(url)
    assert (tmp_path / "optuna.db").read_bytes() == before
    with shut(tmp_path / "optuna.db"), pytest.raises(InputError, match=r"readonly database.*set another sweep.storage"):
        _open_storage(url)


def test_a_driver_that_is_not_installed_is_one_line():
    with pytest.raises(InputError, match=r"oracle.*logger=none"):
        open_client("oracle://nowhere/runs")
    with pytest.raises(InputError, match=r"sweep.storage=.*DB access module"):
        _open_storage("postgresql://nowhere/studies")


def test_a_database_that_another_program_is_making_is_waited_for(whole, tmp_path):
    path = tmp_path / "mlflow.db"
    process = multiprocessing.get_context("fork").Process(target=_finish_slowly, args=(whole, path))
    path.touch()
    process.start()
    assert open_client(f"sqlite:///{path}").get_experiment("0").name == "Default"
    process.join()


def _finish_slowly(whole: Path, path: Path) -> None:
    time.sleep(0.7)
    with closing(sqlite3.connect(whole)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)


def test_a_finished_database_is_read_in_a_folder_that_cannot_be_written(whole, tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    shutil.copy(whole, folder / "mlflow.db")
    (folder / "mlflow.db").chmod(0o444)
    folder.chmod(0o555)
    try:
        client = open_client(f"sqlite:///{folder}/mlflow.db")
        assert client.get_experiment("0").name == "Default"
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///runs/mlflow.db", "runs/mlflow.db"),
        ("sqlite:////srv/../data/a b.db?timeout=1", "/data/a b.db"),
        ("sqlite+pysqlite:////data/a.db", "/data/a.db"),
        ("sqlite://", None),
        ("sqlite:///file:x?mode=ro&uri=true", None),
        ("http://host:5000", None),
        ("./mlruns", None),
    ],
)
def test_the_file_of_a_url(url, path):
    assert sqlite_path(url) == (Path(path).absolute() if path else None)


@pytest.mark.slow
def test_a_search_on_a_broken_storage_is_one_line(tmp_path):
    (tmp_path / "optuna.db").write_bytes(b"trials " * 1000)
    storage = f"sweep.storage=sqlite:///{tmp_path}/optuna.db"
    search = "sweep=random", "model=dense_ae", "dataset=synthetic", "logger=none", storage
    done = mimii("train", *search, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/optuna.db: file is not a database: move it away")
    assert len(done.stderr.splitlines()) == 1
