"""An attack that succeeds is noticed: what a process does, how it ends, and what it prints."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.confined import MARK, SECRET

from attack.arena import PLANTED, Arena
from attack.outcome import Attack, Expected, Outcome, judge

pytestmark = pytest.mark.slow


def run_a_command(elsewhere: Path) -> None:
    os.system(f"true {MARK}")


def start_a_process(elsewhere: Path) -> None:
    subprocess.run(["true", MARK], check=True)


def run_text(elsewhere: Path) -> None:
    exec(compile(f"'{MARK}'.upper()", "<payload>", "exec"))


def import_a_planted_module(elsewhere: Path) -> None:
    __import__(PLANTED)


def write_elsewhere(elsewhere: Path) -> None:
    (elsewhere / "new").write_text("x")


def write_through_a_link(elsewhere: Path) -> None:
    Path("link").symlink_to(elsewhere)
    Path("link", "new").write_text("x")


def remove_elsewhere(elsewhere: Path) -> None:
    (elsewhere / "precious.ckpt").unlink()


def show_a_secret(elsewhere: Path) -> None:
    print(os.environ[SECRET])


def raise_an_error(elsewhere: Path) -> None:
    raise ValueError("unexpected")


def crash(elsewhere: Path) -> None:
    os.abort()


def take_all_memory(elsewhere: Path) -> None:
    bytearray(2**40)


def hang(elsewhere: Path) -> None:
    subprocess.Popen(["sleep", "60"])
    time.sleep(60)


def say_nothing(elsewhere: Path) -> None:
    sys.exit(1)


def say_too_much(elsewhere: Path) -> None:
    sys.exit("error: input.wav: it is no sound\nand more")


def name_nothing(elsewhere: Path) -> None:
    sys.exit("error: something is wrong")


def refuse(elsewhere: Path) -> None:
    sys.exit("error: input.wav: it is no sound")


def read(elsewhere: Path) -> None:
    Path("result").write_text("x")


@pytest.mark.parametrize(
    ("function", "outcome"),
    [
        (run_a_command, Outcome.EXECUTED),
        (start_a_process, Outcome.EXECUTED),
        (run_text, Outcome.EXECUTED),
        (import_a_planted_module, Outcome.EXECUTED),
        (write_elsewhere, Outcome.EXECUTED),
        (write_through_a_link, Outcome.EXECUTED),
        (remove_elsewhere, Outcome.EXECUTED),
        (show_a_secret, Outcome.EXECUTED),
        (raise_an_error, Outcome.TRACEBACK),
        (crash, Outcome.TRACEBACK),
        (take_all_memory, Outcome.TRACEBACK),
        (hang, Outcome.HANG),
        (say_nothing, Outcome.UNNAMED),
        (say_too_much, Outcome.UNNAMED),
        (name_nothing, Outcome.UNNAMED),
        (refuse, Outcome.REFUSED),
        (read, Outcome.WRONG),  # it must be refused
    ],
)
def test_the_outcome(arena: Arena, function, outcome):
    arena.restore()
    ended = arena.call(function, arena.elsewhere, seconds=2)
    verdict = judge(Attack("", "", Expected.REFUSED, ("input.wav",)), ended, touched=arena.touched())
    assert verdict.outcome == outcome, verdict


def test_what_is_healthy_must_be_read_with_the_right_value(arena: Arena):
    arena.restore()
    done, refused = (arena.call(function, arena.elsewhere) for function in (read, refuse))
    attack = Attack("", "", Expected.READ)
    assert judge(attack, done).outcome == Outcome.READ
    assert judge(attack, done, wrong="another score").outcome == Outcome.WRONG
    assert judge(attack, refused).outcome == Outcome.WRONG


def test_the_working_folder_is_put_back(arena: Arena):
    arena.restore()
    (arena.here / "outputs" / "detector" / "run.json").unlink()
    (arena.elsewhere / "new").touch()
    assert arena.touched()
    arena.restore()
    assert (arena.here / "outputs" / "detector" / "run.json").is_file()
    assert not arena.touched()
