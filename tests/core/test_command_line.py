"""The command line: the list of commands, the translation of a command for Hydra, and help that leaves no file."""

import ast
import logging
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mimii_pl import __version__
from mimii_pl.__main__ import call_run, commands, main, split_command, translate
from mimii_pl.core.choices import brought_choices
from mimii_pl.core.config import CONF, compose
from mimii_pl.core.help import groups
from mimii_pl.core.run_dir import write_facts


@pytest.mark.parametrize("arguments", ["", "--help", "-h", "help"])
def test_the_commands_are_listed_within_80_columns(capsys, arguments):
    main(arguments.split())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for name, summary in commands().items():
        assert f"  {name:<8}  {summary}" in lines
    assert "mimii <command> --help" in lines[-2]
    assert set(commands()) == {"train", *(path.stem for path in CONF.glob("command/[!_]*.yaml"))}


@pytest.mark.parametrize("arguments", ["--version", "train --version", "score run=latest --version"])
def test_the_version(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert not end.value.code
    assert capsys.readouterr().out == f"mimii_pl {__version__}\n"


@pytest.mark.parametrize(("word", "meant"), [("scor", "score"), ("rescroe", "rescore"), ("trian", "train")])
def test_an_unknown_command_gets_one_line_with_the_closest(word, meant):
    with pytest.raises(SystemExit) as end:
        main([word])
    message = str(end.value.code)
    assert message.startswith(f"error: {word}: no such command. Commands: train, ")
    assert message.endswith(f" Did you mean {meant}?")
    assert "\n" not in message


@pytest.mark.parametrize("arguments", ["model=vae", "-m model=vae,idnn", "--cfg job", "best=latest", "~logger"])
def test_options_without_a_command_are_those_of_train(arguments):
    assert split_command(arguments.split()) == ("train", arguments.split())
    assert split_command(["train", *arguments.split()]) == ("train", arguments.split())


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """An interrupted run in the working directory."""
    run_dir = Path("outputs/day/run")
    (tmp_path / run_dir).mkdir(parents=True)
    write_facts(tmp_path / run_dir, status="running")
    monkeypatch.chdir(tmp_path)
    return run_dir


@pytest.mark.parametrize("spelling", ["", "run=latest", "run={run}", "{run}"])
@pytest.mark.parametrize("options", ["", "trainer.max_epochs=5"])
def test_resume_is_train_with_an_option(interrupted, spelling, options):
    arguments = shlex.split(f"{spelling.format(run=interrupted)} {options}")
    command, translated, finish = translate("resume", arguments)
    value = str(interrupted) if "{run}" in spelling else "latest"
    assert (command, finish) == ("train", None)
    assert translated == [f"resume={value}", *options.split(), f"hydra.run.dir={interrupted}"]
    assert translate("train", [f"resume={value}", *options.split()]) == (command, translated, finish)


@pytest.mark.parametrize(
    ("arguments", "sweep"), [("", "latest"), ("sweep={dir} seed=0,1", "{dir}"), ("{dir} seed=0,1", "{dir}")]
)
def test_retrain_is_train_with_an_option(tmp_path, monkeypatch, arguments, sweep):
    asked = []

    def retraining(words: list[str]) -> tuple[list[str], Path]:
        asked.extend(words)
        return ["seed=0,1", "-m"], tmp_path

    monkeypatch.setattr("mimii_pl.sweep.retrain.retraining", retraining)
    command, translated, finish = translate("retrain", arguments.format(dir=tmp_path).split())
    assert asked == [f"best={sweep.format(dir=tmp_path)}", *(["seed=0,1"] if "seed" in arguments else [])]
    assert (command, translated) == ("train", ["-m", "seed=0,1"])  # Hydra expects -m first
    assert finish is not None


def test_compare_selects_runs_by_bare_names():
    arguments = ["machine=fan", "sweep=latest", "resamples=10"]
    assert translate("compare", arguments) == (
        "compare",
        ["only.machine=fan", "only.sweep=latest", "resamples=10"],
        None,
    )
    assert translate("listen", ["machine=fan"]) == ("listen", ["machine=fan"], None)


@pytest.mark.parametrize("command", ["resume", "retrain"])
def test_help_of_an_alias_is_its_own(command):
    assert translate(command, ["--help"]) == (command, ["--help"], None)


@pytest.mark.parametrize(
    ("overrides", "brought"),
    [
        ([], {"features": "complex_stft", "augmentation": "[noise,band_mask,frequency_shift]"}),
        (["features=stft"], {"augmentation": "[noise,band_mask,frequency_shift]"}),
        (["augmentation=[noise]", "features=complex_stft"], {}),
        (["model=dense_ae"], {}),  # its features are the default
        (["model=spectrum"], {"features": "stft", "backend": "knn"}),
        (["model=spectrum", "backend=none"], {"features": "stft"}),
    ],
)
def test_choices_that_a_model_brings(overrides, brought):
    assert brought_choices(compose(overrides), overrides) == brought


def test_a_run_logs_the_choices_that_its_model_brings(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    overrides = ["model=complex_ssl", "augmentation=noise"]
    assert call_run(lambda cfg, run_dir, sweep_dir: 0.5, compose(overrides), tmp_path, None, overrides) == 0.5
    assert caplog.messages == ["model=complex_ssl brings features=complex_stft"]
    cfg = compose(["backend=lof"], "command/rescore")  # it has no model
    call_run(lambda cfg, run_dir, sweep_dir: 0.5, cfg, tmp_path, None, ["backend=lof"])
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("command", commands())
def test_help_shows_groups_values_and_comments(command, capsys):
    main([command, "--help"])
    screen = capsys.readouterr().out
    assert "Examples" in screen
    tables = screen.partition("\nGroups (")[2] or screen.partition("\nValues (")[2]
    assert max(map(len, tables.splitlines())) <= 80
    assert not re.search(
        r"_target_|ground_truth|\brun_dir=|^  (command|choices|train)\b|\b_[a-z]+,", tables, re.MULTILINE
    )
    for group in groups(command):
        assert f"\n  {group}=" in tables


def test_help_shows_the_values_that_overrides_lead_to(capsys):
    main(["rescore", "backend=lof", "--help"])
    screen = capsys.readouterr().out
    assert re.search(r"backend=lof +turns the embeddings", screen)
    assert re.search(r"backend\.k=\d+ +\w", screen)
    assert "sweep" not in screen


def test_a_command_without_a_template_shows_its_summary(tmp_path, capsys, monkeypatch):
    shutil.copytree(CONF, tmp_path / "conf")
    lines = [
        "# @package _global_",
        "# Count clips.",
        "defaults: [_command, _self_]",
        "command: a.b",
        "rows: 10   # to count",
    ]
    (tmp_path / "conf/command/count.yaml").write_text("\n".join(lines))
    monkeypatch.setattr("mimii_pl.core.config.CONF", tmp_path / "conf")
    assert commands()["count"] == "Count clips"
    main(["count", "--help"])
    assert capsys.readouterr().out == "Count clips.\n\nValues (key=value)\n  rows=10  to count\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("score machine=fan", "machine: no such option. score has: run, input, machine_id, "),
        ("rescore model=vae", "model: no such option. rescore has: backend, threshold, report, "),
        ("train datset=mimii", "Did you mean dataset?"),
        ("train seed", "seed: write seed=<value>"),
        ("train model=dense_ae,vae", "model=dense_ae,vae: several values: add -m for one run each"),
        ("train model=_gan", "model=_gan: no such choice. model is one of: anogan, "),
        ("download dataset=synthetic", "there is nothing to download"),
        ("decide", "or train one: mimii train dataset=synthetic machine=fan"),
    ],
)
def test_a_mistake_gets_one_line_with_the_way_out(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mimii"])
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert message in str(end.value.code)
    assert "\n" not in str(end.value.code)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["", "score --help"])
def test_a_closed_pipe_ends_without_a_stack_trace(arguments):
    words = [sys.executable, "-m", "mimii_pl", *arguments.split()]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


HELP_AND_ERRORS = """
import contextlib, io
import hydra.core.global_hydra
from mimii_pl.__main__ import commands, main

for command in commands():
    for argument in ("--help", "no.such.key=1"):
        screen, code = io.StringIO(), 0
        try:
            with contextlib.redirect_stdout(screen):
                main([command, argument])
        except SystemExit as end:
            code = end.code
        print(repr((command, argument, screen.getvalue(), code)))
        hydra.core.global_hydra.GlobalHydra.instance().clear()
"""


@pytest.mark.slow
def test_help_and_wrong_arguments_leave_no_file(tmp_path):
    done = subprocess.run([sys.executable, "-c", HELP_AND_ERRORS], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = [ast.literal_eval(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in answers] == [name for name in commands() for _ in range(2)]
    for name, argument, screen, code in answers:
        if argument == "--help":
            assert not code
            assert "Examples" in screen, name
        else:
            assert code.startswith("error: "), name
            assert "\n" not in code, name
    assert not list(tmp_path.rglob("*"))
