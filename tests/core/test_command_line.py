"""The command line: the list of commands, the translation of a command for Hydra, and help that leaves no file."""

import ast
import logging
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mimii_pl import __version__
from mimii_pl.__main__ import call_run, commands, main, split_command, translate
from mimii_pl.core.choices import brought_choices
from mimii_pl.core.config import CONF, compose
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


def test_the_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
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
