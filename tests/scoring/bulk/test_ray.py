"""The scorer inside Ray Data, with real workers."""

import csv
import os
import sys

import numpy as np
import pytest
from support import world
from support.cluster import ray_cluster

from mimii_pl.core.errors import InputError
from mimii_pl.run import run
from mimii_pl.scoring.bulk.ray import ScoreRecordings, _actors
from mimii_pl.scoring.bulk.shards import Shards
from mimii_pl.tracking.load import score as score_files


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("ray") / "world", train=10, test=6, seconds=0.4)


@pytest.fixture(scope="module")
def run_dir(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run(world.configured(root, "model=simple_ae", "training.epochs=2", "dataset.batch_size=4"), folder)
    return folder


@pytest.fixture
def cluster():
    with ray_cluster() as ray:
        yield ray


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets of Ray
def test_ray_gives_the_scores_of_the_plain_engine(cluster, root, run_dir, tmp_path, monkeypatch):
    """And goes on with what that engine has finished, in a pipeline of one's own as well."""
    source, files = tmp_path / "list.csv", sorted((root / "fan" / "test").iterdir())
    lines = [f"{os.path.relpath(file, tmp_path)},id_02" for file in files] + [f"{tmp_path}/nothing.wav,"]
    source.write_text("\n".join(["path,machine_id", *lines]))
    monkeypatch.chdir(tmp_path)
    options = {"run": str(run_dir), "input": "list.csv", "shard_size": 5, "device": "cpu"}
    plain = rows_of(score_files(**options, output="plain.csv"))

    add, left = Shards.add, iter(range(2))
    with monkeypatch.context() as patch:
        patch.setattr(Shards, "add", lambda *given: add(*given) if next(left, None) is not None else _interrupt())
        with pytest.raises(InterruptedError):
            score_files(**options, output="ray.csv")
    assert sorted(path.name for path in tmp_path.glob("ray.csv.shards/0*.csv")) == ["00000000.csv"]  # of two batches
    seen = []
    monkeypatch.setattr(Shards, "add", lambda self, number, rows: seen.append(number) or add(self, number, rows))
    rays = rows_of(score_files(**options, output="ray.csv", engine="ray"))
    assert set(seen) == {1, 2, 3, 4}
    _same(rays, plain)

    items = [{"path": row["file"], "machine_id": "id_02", "clip": number} for number, row in enumerate(plain)]
    scored = cluster.data.from_items(items).map_batches(
        ScoreRecordings,
        fn_constructor_args=[str(run_dir)],
        fn_constructor_kwargs={"folder": str(tmp_path)},
        batch_size=8,
        compute=cluster.data.ActorPoolStrategy(size=1),
    )
    rows = sorted(scored.take_all(), key=lambda row: row["clip"])
    assert [row["skipped"] for row in rows] == [row["skipped"] for row in plain]
    assert np.isnan(rows[-1]["score"])
    assert rows[-1]["decision"] == -1
    _same([{**row, "file": row["path"]} for row in rows[:-1]], plain[:-1])


def _interrupt():
    raise InterruptedError


def _same(rows, plain):
    for name in ("file", "machine_id", "skipped"):
        assert [row[name] for row in rows] == [row[name] for row in plain]
    for name in ("score", "higher_than", "p_value", "decision", "heard"):
        numbers = [[-1 if row[name] == "" else float(row[name]) for row in some] for some in (rows, plain)]
        np.testing.assert_allclose(*numbers, rtol=2e-4 if name == "p_value" else 1e-5)  # the CSV has four digits of it


@pytest.mark.slow
def test_a_batch_without_paths_is_explained(run_dir):
    with pytest.raises(InputError, match=r"need a column `path`; the columns are: name"):
        ScoreRecordings(str(run_dir), device="cpu")({"name": np.array(["a.wav"])})


@pytest.mark.parametrize(
    ("resources", "device", "workers", "expected"),
    [
        ({"CPU": 8.0}, "auto", None, ("CPU", 8)),
        ({"CPU": 8.0}, "auto", 3, ("CPU", 3)),
        ({"CPU": 8.0}, "auto", 99, ("CPU", 8)),
        ({"CPU": 8.0, "GPU": 2.0}, "auto", None, ("GPU", 2)),
        ({"CPU": 8.0, "GPU": 2.0}, "cpu", None, ("CPU", 8)),
        ({"CPU": 8.0, "GPU": 2.0}, "cuda", 1, ("GPU", 1)),
    ],
)
def test_no_more_actors_are_asked_for_than_the_cluster_can_hold(resources, device, workers, expected):
    assert _actors(resources, device, workers) == expected


def test_a_cluster_without_a_gpu_is_explained():
    with pytest.raises(InputError, match="this Ray cluster has no GPU"):
        _actors({"CPU": 8.0}, "cuda", None)


@pytest.mark.slow
def test_without_ray_the_extra_is_named(run_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'mimii_pl\[ray\]'"):
        score_files(run=str(run_dir), input=str(tmp_path), engine="ray")
