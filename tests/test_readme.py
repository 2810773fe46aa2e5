"""Every command the documents show is one that runs: its choices exist and its values are of the right type."""

import inspect
import re
import shlex
from itertools import product
from pathlib import Path

import pytest
import yaml

from mimii_pl import _config
from mimii_pl._check import check
from mimii_pl._cli import GROUPS
from mimii_pl._config import CONF
from mimii_pl._score_files import score_files
from mimii_pl.compare import compare
from mimii_pl.register import register
from mimii_pl.report._published import published

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile", *CONF.glob("hydra/help/*.yaml")]


def commands(entry: str) -> list[str]:
    """What stands after `python <entry>.py` in the documents, up to a comment or the end of the line."""
    pattern = re.compile(rf"python\)? {entry}\.py ([^`#\n]*?)(?:`|#|\n|   )")
    found = {match.strip() for document in DOCUMENTS for match in pattern.findall(document.read_text())}
    return sorted(found - {"--help"})


def runs(command: str) -> list[list[str]]:
    """Overrides of every run of a command, sweeps taken apart."""
    words = [word for word in shlex.split(command) if word != "-m" and "(" not in word]  # intervals are no list
    lists = [
        [f"{key}={value}" for value in ([values] if values.startswith("[") else values.split(","))]
        for key, values in (word.split("=", 1) for word in words)
    ]
    return [list(run) for run in product(*lists)]


@pytest.mark.slow
@pytest.mark.parametrize("command", commands("train"))
def test_train_commands_compose(command):
    for overrides in runs(command):
        check(_config.compose(overrides))


@pytest.mark.parametrize(
    ("entry", "command"), [(entry, one) for entry in ("download", "listen", "decide") for one in commands(entry)]
)
def test_commands_of_other_entries_compose(entry, command):
    for overrides in runs(command):
        check(_config.compose(overrides, entry))


@pytest.mark.parametrize(
    ("entry", "command"),
    [(entry, one) for entry, name in ((score_files, "score"), (register, "register")) for one in commands(name)],
)
def test_commands_name_the_options_of_their_entry(entry, command):
    options = inspect.signature(entry).parameters
    assert all(word.split("=")[0] in options for word in shlex.split(command))


@pytest.mark.parametrize("command", commands("compare"))
def test_compare_commands_name_its_options_and_published_figures(command):
    options = dict(word.split("=", 1) for word in shlex.split(command))
    assert options.keys() <= {*inspect.signature(compare).parameters, *GROUPS}
    published(yaml.safe_load(options.get("published", "null")))


def test_the_documents_show_commands():
    assert len(commands("train")) > 6
    assert commands("score")
    assert len(commands("register")) > 2
    assert len(commands("compare")) > 2
    assert len(commands("download")) > 3


def test_every_choice_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    missing = [
        f"{folder.name}={file.stem}"
        for folder in CONF.iterdir()
        if folder.is_dir() and folder.name not in ("hydra", "experiment")
        for file in folder.glob("[!_]*.yaml")
        if not re.search(rf"\b{file.stem}\b", readme)
    ]
    assert not missing
