"""The wheel: installed in an empty environment, away from the checkout, it runs every command."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import torch

from mimii_pl.__main__ import commands
from mimii_pl.core.config import CONF
from mimii_pl.model._embedders import AISFX

ROOT = CONF.parent
TESTS = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow
SMALL = (
    "dataset=synthetic",
    "machine=fan",
    "model=spectrum",
    "trainer=smoke",
    "report=brief",
    "efficiency.seconds=0",
    "dataset.train_clips=4",
    "dataset.test_clips=2",
    "dataset.clip_seconds=1",
)
DATA = [option for option in SMALL if option.startswith(("dataset", "machine"))]
BRIEF = ("report=brief", "efficiency.seconds=0")
SEARCHED = "+sweep.space={model.lr: 'choice(1e-3, 1e-2)'}"
CLIPS = "data/synthetic"
FIRST = "outputs/first"
SWEEP = "outputs/sweep"
FRESH = [  # each in an interpreter of its own, as a user starts it
    ("mimii", ["train", *SMALL, f"hydra.run.dir={FIRST}"], "spectrum on fan"),
    (
        "python -m mimii_pl",
        ["train", "-m", *SMALL, "seed=0,1", "hydra/launcher=joblib", f"hydra.sweep.dir={SWEEP}"],
        "leaderboard",
    ),
    (
        "mimii",
        [
            "train",
            *SMALL,
            "sweep=random",
            "sweep.trials=2",
            "sweep.name=cluster",
            "+sweep.space={backend.k: 'range(1, 3)'}",
            "hydra/launcher=submitit_local",
            "threads=1",
        ],
        "best: trial",
    ),
]
FORKED = [  # each in a process forked from one that has imported the installed package
    (["train", *SMALL, "model=dense_ae", "training.epochs=1", "hydra.run.dir=outputs/longer"], "dense_ae on fan"),
    (["resume", "run=outputs/longer", "trainer.max_epochs=3"], "dense_ae on fan"),
    (["train", "-m", *SMALL, "backend=knn,lof", "hydra.sweep.dir=outputs/grid"], "leaderboard"),
    (["train", *SMALL, "model=dense_ae", "sweep=random", "sweep.trials=2", SEARCHED], "best: trial"),
    (["train", *SMALL, "model=dense_ae", "sweep=optuna", "sweep.trials=2", SEARCHED], "best: trial"),
    (["score", f"run={FIRST}", f"input={CLIPS}", "device=cpu"], "scores.csv"),
    (["rescore", f"run={FIRST}", "backend=lof", *BRIEF], "fan"),
    (["decide", f"run={FIRST}", "threshold=youden", "report=brief"], "fan"),
    (["review", f"run={FIRST}", f"input={CLIPS}", "count=4", "device=cpu"], "labels.csv"),
    (["update", f"run={FIRST}", f"input={CLIPS}", "force=true", *BRIEF], "What changes"),
    (["curve", f"run={FIRST}", "folds=2", "clips=4", "device=cpu"], "curve.html"),
    (["fuse", f"runs=[{FIRST},{FIRST}]", *BRIEF], "fused on fan"),
    (["compare", "machine=fan"], "compare.html"),
    (["record", f"run={SWEEP}"], "MLflow has everything"),
    (["register", f"run={FIRST}"], "is now champion"),
    (["score", "run=models:/fan@champion", f"input={CLIPS}", "output=registered.csv", "device=cpu"], "registered.csv"),
    (["retrain", f"sweep={SWEEP}", "seed=0,1"], "fan version 2"),
    (["listen", *DATA, "clips=1"], "listen.html"),
    (["export", f"run={FIRST}", "front_end=stft"], "scores as the run does"),
    (["check", *DATA, "fail_on=never"], "check.csv"),
    (["convert", "input=theirs.pt", "network=aisfx"], "sha256"),
    (
        [
            "monitor",
            f"run={FIRST}",
            "source=file:night.wav",
            "machine_id=id_00",
            "speed=max",
            "device=cpu",
            "page.port=0",
        ],
        "events",
    ),
]
UNREACHABLE = ["download", "dataset=dcase2020", "machine=fan", "dataset.mirrors=[http://127.0.0.1:9]"]
LEFT = {
    "data",
    "mlruns",
    "outputs",
    "scores.csv",
    "registered.csv",
    "listen.html",
    "export",
    "check.csv",
    "check.html",
    "curve.csv",
    "curve.html",
    "review",
    "weights.safetensors",
    "events",
    "theirs.pt",
    "night.wav",
}  # files that the documents name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of the programs of an environment with the wheel, and with the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    purelib = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    Path(purelib, "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # not their gigabytes again
    return folder / "bin"


def test_every_config_template_and_plugin_is_inside(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"mimii_pl/conf/{path.relative_to(CONF)}" for path in CONF.rglob("*.yaml")} <= names
    package = ROOT / "mimii_pl"
    assert {f"mimii_pl/{path.relative_to(package)}" for path in package.rglob("*.j2")} <= names
    for kind in ("js", "css", "svg", "LICENSE"):
        assert {f"mimii_pl/{path.relative_to(package)}" for path in package.rglob(f"*.{kind}")} <= names
    assert {"mimii_pl/report/published.csv", "mimii_pl/py.typed", "hydra_plugins/mimii_pl_search.py"} <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"mimii_pl", "hydra_plugins"}


def test_every_command_runs(installed, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "PYTHONPATH"))}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    folder = tmp_path / "empty"
    folder.mkdir()
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True}

    where = subprocess.run([installed / "python", "-c", "import mimii_pl; print(mimii_pl.__file__)"], **options)
    assert where.stdout.startswith(str(installed.parent))
    torch.save(AISFX().state_dict(), folder / "theirs.pt")
    for program, arguments, expected in FRESH:
        start = [installed / "mimii"] if program == "mimii" else [installed / "python", "-m", "mimii_pl"]
        done = subprocess.run([*start, *arguments], **options)
        check(arguments, done.returncode, done.stdout, done.stderr, expected)
    shutil.copy(next((folder / CLIPS).rglob("*id_00*.wav")), folder / "night.wav")
    *every, download, devices = forked(installed, [*(one for one, _ in FORKED), UNREACHABLE, ["devices"]], options)
    for (arguments, expected), done in zip(FORKED, every, strict=True):
        check(arguments, *done, expected)
    code, _, error = download
    assert (code, len(error.strip().splitlines())) == (1, 1), error
    assert "connection refused" in error
    _, output, error = devices  # which is on some computers, with microphones or without
    assert "PortAudio" in output + error or "number" in output
    with subprocess.Popen(
        [installed / "mimii", "serve", f"run={FIRST}", "port=0"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert any("on http://127.0.0.1:" in line for line in iter(service.stdout.readline, ""))
        service.terminate()
    tried = {arguments[0] for _, arguments, _ in FRESH} | {one[0] for one, _ in FORKED}
    assert tried | {"download", "serve", "devices"} == {*commands()}

    assert {path.name for path in folder.iterdir()} == LEFT
    runs = {path.parent for path in folder.rglob("config.yaml")}
    logs = [path for path in folder.rglob("*.log") if ".submitit" not in path.parts]
    assert {path.name for path in logs} == {"run.log"}
    assert {path.parent for path in logs} <= runs


def check(arguments, code, output, error, expected):
    assert code == 0, f"{' '.join(arguments)}\n{output}\n{error}"
    assert expected in " ".join(output.split()), f"{' '.join(arguments)}\n{output}\n{error}"


def forked(installed, commands, options):
    """Exit code, output and errors of commands, run one after the other without importing everything each time."""
    code = """
import json, os, sys
from pathlib import Path
sys.path.append(sys.argv[1])
from support.cli import mimii
done = [mimii(*arguments, cwd=Path.cwd(), env=os.environ) for arguments in json.loads(sys.argv[2])]
print(json.dumps([[one.returncode, one.stdout, one.stderr] for one in done]))
"""
    python = [installed / "python", "-c", code, TESTS, json.dumps(commands)]
    done = subprocess.run(python, check=True, **options)
    return json.loads(done.stdout)
