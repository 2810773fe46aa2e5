"""After a sweep: train its winners over seeds, register the best of them, and load it by its alias."""

import csv
import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
from omegaconf import OmegaConf
from support import world
from support.cli import mimii

import mimii_pl
from mimii_pl.core.config import CONF, compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts, write_facts
from mimii_pl.rerun import decide
from mimii_pl.run import run
from mimii_pl.sweep import retrain
from mimii_pl.sweep.register import register
from mimii_pl.tracking import registry
from mimii_pl.tracking.load import score as score_files

ROOT = CONF.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::ResourceWarning"),
]
OPTIONS = ("dataset.cache_dir=cache", "efficiency.seconds=0", "report=brief", "trainer=smoke")


def train(folder, *arguments):
    """`python train.py` in a folder, with no MLflow server in its environment."""
    done = mimii("train", *arguments, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder with a sweep over two machines, and its winner on fans trained over two seeds."""
    folder = tmp_path_factory.mktemp("swept [a=b, c]")
    for seed, machine in enumerate(("fan", "pump")):
        world.write(folder / "world", machine=machine, train=8, test=2, seed=seed)
    train(folder, "-m", "machine=fan,pump", "model=dense_ae", "dataset.root=world", "seed=5", *OPTIONS)
    said = train(folder, "best=latest", "machine=fan", "seed=0,1", "training.epochs=3", "trainer.max_epochs=3")
    return folder, said


@pytest.fixture
def here(swept, monkeypatch, tmp_path):
    """The folder, made the present one; models are fetched into a cache of the test's own."""
    monkeypatch.chdir(swept[0])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri(swept[0]))
    return swept[0]


def uri(folder):
    return f"sqlite:///{folder}/mlruns/mlflow.db"


def retrained(folder):
    """The children of the second sweep, by seed."""
    found = {OmegaConf.load(path).seed: path.parent for path in folder.glob("outputs/best/*/*/config.yaml")}
    assert sorted(found) == [0, 1]
    return found


def highest(runs):
    """Seed of the highest criterion, the first of them."""
    return max(sorted(runs), key=lambda seed: read_facts(runs[seed])["sensitivity"])


def test_the_winner_is_trained_over_seeds_with_what_was_changed(here):
    (sweep_dir,) = here.glob("outputs/*/*-sweep")
    winner = OmegaConf.load(next(sweep_dir.glob("*-fan")) / "config.yaml")
    for seed, run_dir in retrained(here).items():
        cfg = OmegaConf.load(run_dir / "config.yaml")
        assert (cfg.model, cfg.protocol, cfg.machine) == (winner.model, winner.protocol, winner.machine)
        assert (cfg.seed, cfg.trainer.max_epochs, cfg.best) == (seed, 3, sweep_dir.name)
        assert {**cfg.dataset, "seed": 5} == {
            **winner.dataset,
            "download": False,
        }  # a stranger could have named mirrors
        assert read_facts(run_dir)["status"] == "finished"
    with open(retrained(here)[0].parent / "summary.csv", newline="") as file:
        (line,) = csv.DictReader(file)
    assert (line["machine"], line["model"], line["runs"]) == ("fan", winner.choices.model, "2")


def test_mlflow_shows_a_parent_and_its_children(here):
    client, runs = mlflow.MlflowClient(uri(here)), retrained(here)
    parent = json.loads((runs[0].parent / "sweep.json").read_text())["mlflow_run_id"]
    assert client.get_run(parent).info.status == "FINISHED"
    for run_dir in runs.values():
        tags = client.get_run(read_facts(run_dir)["mlflow_run_id"]).data.tags
        assert tags["mlflow.parentRunId"] == parent


def test_the_best_seed_is_the_champion(here, swept):
    client, runs = mlflow.MlflowClient(uri(here)), retrained(here)
    model = client.get_registered_model("fan")
    assert {alias: int(number) for alias, number in model.aliases.items()} == {"champion": 1}
    version, facts = client.get_model_version_by_alias("fan", "champion"), read_facts(runs[highest(runs)])
    assert version.run_id == facts["mlflow_run_id"]
    tags = version.tags
    assert (tags["seed"], tags["machine"], tags["dataset"]) == (str(highest(runs)), "fan", "dcase2020")
    assert float(tags["sensitivity"]) == float(tags["value"]) == facts["sensitivity"]
    assert tags["selection"].startswith("highest sensitivity on held-out normal clips of 2 runs")
    assert tags["held_out"] == facts["held_out"] == read_facts(runs[1 - highest(runs)])["held_out"]
    assert [one.name for one in client.search_registered_models()] == ["fan"]
    assert "mimii score run=models:/fan@champion input=recordings/" in swept[1]


@pytest.mark.parametrize("name", ["models:/fan@champion", "models:/fan/1", "models:/fan/latest"])
def test_a_registered_model_scores_as_its_run(here, name, tmp_path):
    run_dir = retrained(here)[highest(retrained(here))]
    clips = sorted(Path("world/fan/test").glob("*.wav"))
    expected = mimii_pl.load(run_dir).decide(clips, machine_id="id_00")
    found = mimii_pl.load(name).decide(clips, machine_id="id_00")
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_array_equal(found.higher_than, expected.higher_than)
    table = score_files(run=name, input="world/fan/test", output=str(tmp_path / "s.csv"), tracking_uri=uri(here))
    assert (
        table.read_text()
        == score_files(run=str(run_dir), input="world/fan/test", output=str(tmp_path / "t.csv")).read_text()
    )
    assert len(list(tmp_path.glob("cache/mimii_pl/models/*"))) == 1  # and nothing half downloaded


def test_a_version_stays_as_it_was_registered(here, tmp_path):
    run_dir = retrained(here)[highest(retrained(here))]
    files = registry.fetch_model("models:/fan/1", uri(here))
    before = (files / "thresholds.json").read_text()
    shutil.copytree(run_dir, tmp_path / "run")
    decide(compose([f"run='{tmp_path}/run'", "threshold.quantile=0.5", "report=brief"], "command/decide"))
    shutil.rmtree(files)
    assert (registry.fetch_model("models:/fan/1", uri(here)) / "thresholds.json").read_text() == before
    (done,) = register(run=str(tmp_path / "run"), name="decided anew")
    assert (done.number, done.moved, done.reason) == ("1", True, "the first champion")
    again = registry.fetch_model("models:/decided anew@champion", uri(here))
    assert json.loads((again / "thresholds.json").read_text())["thresholds"] != json.loads(before)["thresholds"]


def test_the_same_command_goes_on_where_it_was_killed(here):
    runs = retrained(here)
    kept, lost = runs[highest(runs)], runs[1 - highest(runs)]
    write_facts(lost, status="running")
    weights = {path: (path / "checkpoints" / "best.ckpt").stat().st_mtime_ns for path in (kept, lost)}
    said = train(here, "best=latest", "machine=fan", "seed=0,1", "training.epochs=3", "trainer.max_epochs=3")
    assert {path: read_facts(path)["status"] for path in retrained(here).values()} == dict.fromkeys(weights, "finished")
    assert (kept / "checkpoints" / "best.ckpt").stat().st_mtime_ns == weights[kept]
    client = mlflow.MlflowClient(uri(here))
    assert len(client.search_model_versions("name = 'fan'")) == 1  # the same run is the same version
    parents = {client.get_run(read_facts(path)["mlflow_run_id"]).data.tags["mlflow.parentRunId"] for path in weights}
    assert len(parents) == 1
    assert "fan version 1 registered: it is champion already" in said


def test_a_sweep_is_found_in_mlflow_where_its_folder_is_not(here, monkeypatch, tmp_path):
    (sweep_dir,) = here.glob("outputs/*/*-sweep")
    parent = json.loads((sweep_dir / "sweep.json").read_text())["mlflow_run_id"]
    _, there = retrain.retraining([f"best={sweep_dir}", "machine=fan"])
    monkeypatch.chdir(tmp_path)
    for place in (parent, "latest"):
        told, folder = retrain.retraining([f"best={place}", "-m", "dataset.root=/data"])
        options = dict(item.split("=", 1) for item in told[1:])
        assert told[0] == "-m"
        assert options["experiment"] == f"'{folder.name}/fan','{folder.name}/pump'"
        assert (options["seed"], options["dataset.root"]) == ("0,1,2,3,4", "/data")
        assert options["trainer.logger.tracking_uri"] == f"'{uri(here)}'"
        assert options["++best"] == f"'{parent}'"
        assert not any(item.startswith("best=") for item in told)
        written = Path("outputs/best/experiment", folder.name, "fan.yaml").read_text()
        original = (here / "outputs" / "best" / "experiment" / there.name / "fan.yaml").read_text()
        assert written.splitlines()[2:] == original.splitlines()[2:]
    with pytest.raises(InputError, match=rf"{'0' * 32}: no such run in sqlite"):
        retrain.retraining([f"best={'0' * 32}"])


def test_what_best_does_not_do_is_said(here):
    (sweep_dir,) = here.glob("outputs/*/*-sweep")
    for argument in ("model=vae", "dataset=synthetic", "experiment=zoo", "~augmentation=none", "hydra.sweep.dir=x"):
        with pytest.raises(InputError, match="best= keeps the winner's choices"):
            retrain.retraining([f"best={sweep_dir}", argument])
    told, _ = retrain.retraining([f"best={sweep_dir}", "logger=none"])
    assert not any(item.startswith("trainer.logger") for item in told)
    with pytest.raises(InputError, match=r"has winners for fan, pump, but none for machine=valve"):
        retrain.retraining([f"best={sweep_dir}", "machine=valve"])


def test_the_alias_moves_to_what_is_known_to_be_better(here):
    client = mlflow.MlflowClient(uri(here))
    client.create_registered_model("press")

    def version(value, held_out="a", criterion="sensitivity"):
        tags = {"criterion": criterion, "value": repr(value), "held_out": held_out}
        return client.create_model_version("press", "file:///nowhere", tags=tags)

    first, worse, better, elsewhere, unknown = (
        version(0.7),
        version(0.6),
        version(0.8),
        version(0.9, "b"),
        version(1.0, ""),
    )
    searched = version(0.9, criterion="objective")

    def promoted(one, force=False):
        done = registry.promote(client, one, "champion", force)
        holder = client.get_model_version_by_alias("press", "champion").version
        assert done.moved == (str(holder) == str(one.version) and "already" not in done.reason)
        return str(holder), done.reason

    assert promoted(first) == ("1", "the first champion")
    holder, reason = promoted(worse)
    assert (holder, "0.6000 is not above the 0.7000 of version 1" in reason, "force=true" in reason) == (
        "1",
        True,
        True,
    )
    assert promoted(better)[0] == "3"
    assert promoted(better) == ("3", "it is champion already")
    for one in (elsewhere, unknown, searched):
        holder, reason = promoted(one)
        assert (holder, "not comparable with version 3" in reason) == ("3", True)
    holder, reason = promoted(worse, force=True)
    assert (holder, reason.endswith("but force=true")) == ("2", True)
    with pytest.raises(InputError, match="alias=v1"):
        registry.promote(client, worse, "v1", False)


def test_what_is_not_registered_is_said(here, tmp_path):
    for name, message in {
        "models:/fun@champion": r"no model of that name is registered in sqlite.* Registered models: .*fan",
        "models:/fan@nobody": r"no such alias or version. Aliases of fan: @champion \(\d\); versions: 1",
        "models:/fan/77": r"no such alias or version",
        "models:/fan": r"a registered model is models:/<name>@<alias> or models:/<name>/<version>",
    }.items():
        with pytest.raises(InputError, match=message):
            mimii_pl.load(name)
    with pytest.raises(InputError, match="is missing: train something first"):
        mimii_pl.load("models:/fan/1", tracking_uri=f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(InputError, match="Give the directory of its run"):
        decide(compose(["run='models:/fan@champion'"], "command/decide"))
    client = mlflow.MlflowClient(uri(here))
    strange = client.create_registered_model("strange").name
    (tmp_path / "files").mkdir()
    client.create_model_version(strange, (tmp_path / "files").as_uri())
    with pytest.raises(InputError, match="is not a model of this project"):
        mimii_pl.load("models:/strange/1")
    client.create_model_version(strange, (tmp_path / "registered" / ("0" * 16)).as_uri())
    with pytest.raises(InputError, match="its files cannot be"):
        mimii_pl.load("models:/strange/2")


def test_a_classifier_is_registered_with_its_target(here, tmp_path):
    options = ["model=simple_classifier", "task=classification", "protocol.folds=3", "dataset.root=world", *OPTIONS]
    run(compose([*options, f"trainer.logger.tracking_uri='{uri(here)}'"]), tmp_path / "run")
    (done,) = register(run=str(tmp_path / "run"), alias=None)
    assert (done.name, done.number, done.moved) == ("fan-condition", "1", False)
    clips = sorted(Path("world/fan/test").glob("*.wav"))
    shares = [mimii_pl.load(one).classify(clips) for one in ("models:/fan-condition/1", tmp_path / "run")]
    np.testing.assert_array_equal(*shares)
    version = mlflow.MlflowClient(uri(here)).get_model_version("fan-condition", "1")
    assert version.tags["selection"].startswith(
        "by hand; checkpoint: lowest validation loss on held-out clips of every"
    )
    told, folder = retrain.retraining([f"best={tmp_path / 'run'}", "target=condition", "seed=1"])
    assert f"experiment='{folder.name}/fan-condition'" in told


def test_a_run_that_is_not_in_mlflow_cannot_be_registered(here, tmp_path):
    run(compose(["model=level", "dataset.root=world", "logger=none", *OPTIONS]), tmp_path / "run")
    with pytest.raises(
        InputError, match="not recorded in MLflow, so it cannot be registered: train with logger=mlflow"
    ):
        register(run=str(tmp_path / "run"))
    known = next(iter(retrained(here).values()))
    shutil.copytree(known, tmp_path / "lost")
    write_facts(tmp_path / "lost", mlflow_run_id="0" * 32)
    with pytest.raises(InputError, match=r"is not \(or no longer\) in"):
        register(run=str(tmp_path / "lost"))
    (sweep_dir,) = here.glob("outputs/*/*-sweep")
    with pytest.raises(InputError, match="name=one: the sweep has a best run for each of fan, pump"):
        register(run=str(sweep_dir), name="one")
