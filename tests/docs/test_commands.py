"""Every command that the documents show is one that runs: its choices exist and its values are of the right type."""

import inspect
import re
import shlex
from itertools import product
from pathlib import Path

import pytest
import yaml
from hydra.utils import get_method

from mimii_pl.__main__ import commands, translate
from mimii_pl.core.check import check
from mimii_pl.core.config import CONF, compose
from mimii_pl.core.units import resolve_units
from mimii_pl.report.published import published

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile")),
    *ROOT.glob("docs/**/*.md"),
    *CONF.glob("hydra/help/*.yaml"),
    *CONF.glob("command/[!_]*.yaml"),
]
SHOWN = re.compile(r"(?:python3? (train)\.py|\bmimii (\w+))((?: [^\s`#]+)*)")


def shown() -> list[tuple[str, str]]:
    """Commands of the documents, with their arguments up to a comment or the end of the line."""
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    lines = {(train or command, arguments.strip()) for train, command, arguments in SHOWN.findall(text)}
    return sorted(line for line in lines if not re.search(r"--|<|^\.\.\.", line[1]))


def runs(arguments: list[str]) -> list[list[str]]:
    """Overrides of every run of a command, sweeps taken apart."""
    words = [word for word in arguments if word != "-m" and "(" not in word]  # intervals are no list
    lists = [
        [f"{key}={value}" for value in ([values] if values.startswith("[") else values.split(","))]
        for key, values in (word.split("=", 1) for word in words)
    ]
    return [list(run) for run in product(*lists)]


TRAINED = [arguments for command, arguments in shown() if command == "train"]
OTHERS = [one for one in shown() if one[0] != "train"]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", TRAINED)
def test_train_commands_compose(arguments):
    for overrides in runs(shlex.split(arguments)):
        rate = ["dataset.sample_rate=16000"] if "dataset.sample_rate=native" in overrides else []
        check(resolve_units(compose([*overrides, *rate])))


@pytest.mark.parametrize(("command", "arguments"), OTHERS)
def test_other_commands_compose(command, arguments, monkeypatch):
    assert command in commands()
    monkeypatch.setattr("mimii_pl.__main__.find_run", lambda run, **_: Path(run))
    if command == "retrain":  # its winners are looked for in the runs that there are
        return
    command, words, _ = translate(command, shlex.split(arguments))
    overrides = [word for word in words if not word.startswith("hydra.run.dir=")]
    for one in runs(overrides):
        cfg = compose([word for word in one if not word.startswith("trainer.max_epochs")], _file(command))
        if "dataset" in cfg:
            check(cfg)
        published(cfg.get("published"))


@pytest.mark.parametrize("command", [name for name in commands() if name not in ("resume", "retrain")])
def test_a_command_is_a_function_that_takes_its_values(command):
    cfg = yaml.safe_load((CONF / f"{_file(command)}.yaml").read_text())
    function = get_method(cfg["command"])
    parameters = inspect.signature(function).parameters
    assert function.__doc__
    if "cfg" in parameters:
        return
    groups = {key.strip("/") for entry in cfg["defaults"] if isinstance(entry, dict) for key in entry}
    values = (cfg.keys() | {group for group in groups if " " not in group}) - {"defaults", "command", "hydra"}
    if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        assert values == set(parameters)


def _file(command: str) -> str:
    return command if command == "train" else f"command/{command}"


def test_the_documents_show_commands():
    count = {command: sum(one == command for one, _ in shown()) for command in commands()}
    assert count["train"] > 6
    unseen = [command for command in count if not count[command]]
    assert not unseen, f"show an example, `mimii {unseen[0]} key=value`, in a page of docs/ or in the command's yaml"
    table = (ROOT / "docs/get_started.md").read_text()
    rows = {command: f"| `mimii {command}` | " for command in commands()}
    absent = [row for row in rows.values() if row not in table]
    assert not absent, f"docs/get_started.md: the table of commands needs a row `{absent[0]}... |`"


def test_every_choice_is_in_the_documents():
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    missing = [
        f"{folder.name}={file.stem}"
        for folder in CONF.iterdir()
        if folder.is_dir() and folder.name not in ("hydra", "experiment", "command")
        for file in folder.glob("[!_]*.yaml")
        if not re.search(rf"\b{file.stem}\b", text)
    ]
    assert not missing
