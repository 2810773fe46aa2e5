"""Hydra composes each configuration once, and decides as it does by itself what is a run and what a sweep."""

import os
import re
import subprocess
import sys

import pytest

from mimii_pl.core.config import compose

CODE = """
import os, sys
if sys.argv[1] == "ours":
    from mimii_pl.core import hydra_hooks
import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins

Plugins.instance()  # which takes long, once
composed = []
compose = ConfigLoaderImpl._load_configuration_impl
ConfigLoaderImpl._load_configuration_impl = lambda *args, **options: composed.append(1) or compose(*args, **options)

@hydra.main(version_base="1.3", config_path=sys.argv[2], config_name="config")
def job(cfg):
    own = HydraConfig.get()
    print(cfg.a, cfg.get("kind"), own.mode, own.overrides.task, own.overrides.hydra, own.job.override_dirname)

for line in sys.stdin:  # each in a process of its own, as a user starts it
    print(f"# {line.strip()}", flush=True)
    if (child := os.fork()) == 0:
        sys.argv[1:] = line.split()
        os.dup2(1, 2)
        try:
            job()
        except Exception as error:
            print(type(error).__name__, str(error).split())
        finally:
            print(f"composed {len(composed)}", flush=True)
            os._exit(0)
    os.waitpid(child, 0)
"""
COMPOSITIONS = {  # None: of a sweep, as many as Hydra needs
    "a=1": 1,
    "a=2 kind=plain hydra.verbose=false": 1,
    "kind=run": 1,
    "a=2,3": None,
    "a=2,3 -m": None,
    "a=2 -m": None,
    "a=2,3 kind=swept": None,
    "kind=swept": None,
    "hydra.mode=MULTIRUN a=range(2)": None,
    "kind=needs": None,
    "b=1": 1,
    "kind=nothing": 1,
    "a=[": 1,
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Arguments -> (what came of them, number of compositions), with our hooks and without."""
    folder = tmp_path_factory.mktemp("hooks")
    (folder / "kind").mkdir()
    (folder / "config.yaml").write_text(
        "defaults: [{optional kind: null}, _self_]\na: 1\nhydra: {run: {dir: out}, sweep: {dir: out}}\n"
    )
    (folder / "kind" / "plain.yaml").write_text("word: plain\n")
    (folder / "kind" / "swept.yaml").write_text("# @package _global_\nhydra: {mode: MULTIRUN}\nkind: swept\n")
    (folder / "kind" / "run.yaml").write_text("# @package _global_\nhydra: {mode: RUN}\nkind: run\n")
    (folder / "kind" / "needs.yaml").write_text("defaults: [{/more@more: ???}]\n")
    outcomes = {}
    for hooks in ("ours", "theirs"):
        output = subprocess.run(
            [sys.executable, "-c", CODE, hooks, str(folder)],
            input="\n".join(COMPOSITIONS),
            capture_output=True,
            text=True,
            cwd=folder,
            env=os.environ | {"HYDRA_FULL_ERROR": "1"},
            check=True,
        ).stdout
        parts = re.split(r"^# (.*)\n", output, flags=re.MULTILINE)[1:]
        for arguments, text in zip(parts[::2], parts[1::2], strict=True):
            lines = [re.sub(r"^\[[-\d :,]+\]", "", line) for line in text.splitlines()]
            outcomes[hooks, arguments] = lines[:-1], int(re.search(r"^composed (\d+)$", text, re.MULTILINE)[1])
    return outcomes


@pytest.mark.parametrize("arguments", COMPOSITIONS)
def test_a_command_does_what_hydra_does_with_it(done, arguments):
    ours, composed = done["ours", arguments]
    theirs, _ = done["theirs", arguments]
    assert ours == theirs
    assert ours
    assert COMPOSITIONS[arguments] in (None, composed)


def test_a_file_that_has_changed_is_read_again(tmp_path):
    file = tmp_path / "threshold" / "mine.yaml"
    file.parent.mkdir()
    for value in range(1, 4):
        (tmp_path / "new").write_text(f"value: {value}\n")
        os.utime(tmp_path / "new", (1e9, 1e9))  # as that of a file that is copied with its time, of the same size
        (tmp_path / "new").replace(file)
        first, second = (compose(["threshold=mine"], config_dir=str(tmp_path)) for _ in range(2))
        first.threshold.value = 0
        assert second.threshold.value == value
