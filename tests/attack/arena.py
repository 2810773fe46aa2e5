"""Where hostile input is tried: finished runs that are put back after every attack, and what nobody may touch."""

import csv
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from support import world
from support.confined import MARK, Ended, Warm

from attack import audio
from mimii_pl.__main__ import main
from mimii_pl.core.errors import InputError

MACHINE_ID = "id_00"
RUNS = {  # name -> options of its training, besides those of all
    "detector": ["model=simple_ae", "backend=gmm", "logger=mlflow", "training.epochs=2"],
    "classifier": ["task=classification", "protocol.folds=4", "model=random_forest", "model.trees=3"],
}
QUICK = ["trainer=cpu", "report=brief", "efficiency.seconds=0", "threads=1", "dataset.batch_size=8"]
SPACE = 2 * 2**30  # bytes of address space that a command may take
PLANTED = f"planted_{MARK}"  # a module in the working folder, which no configuration may have imported


class Arena:
    """A working folder with a world, finished runs and MLflow's store, and a warm process for its commands.

    Attributes:
        here: the working folder.
        elsewhere: a folder beside it, whose files must stay what they are.
        pristine: a copy of the working folder as it was at the beginning.
        scores: file -> score of the clips of `here/world` and of the healthy sound of `audio`, by the detector.
    """

    def __init__(self, folder: Path) -> None:
        self.here, self.elsewhere = folder / "here", folder / f"elsewhere_{MARK}"
        self._notes, self.pristine = folder / "notes", folder / "pristine"
        for path in (self.here, self.elsewhere, self._notes):
            path.mkdir()
        (self.here / f"{PLANTED}.py").write_text(f"open({str(self.elsewhere / 'imported')!r}, 'w')\n")
        world.write(self.here / "world", train=8, test=3, seconds=audio.SECONDS)
        (self.here / f"healthy_{MACHINE_ID}.wav").write_bytes(audio.encoded("WAV"))
        shutil.copytree(self.here, folder / "warm_up")
        self.warm = Warm(_use_every_command, folder / "warm_up")
        ended = self.call(_make_runs, seconds=120)
        assert (ended.code, ended.deeds) == (0, []), ended
        self.scores = scores_of(self.here / "scores.csv")
        shutil.copytree(self.here, self.pristine, symlinks=True)
        self.restore()

    @property
    def healthy(self) -> float:
        """The score of the healthy sound."""
        return self.scores[f"healthy_{MACHINE_ID}.wav"]

    def restore(self) -> None:
        """Put everything back."""
        shutil.rmtree(self.here)
        shutil.copytree(self.pristine, self.here, symlinks=True)
        shutil.rmtree(self.elsewhere)
        self.elsewhere.mkdir()
        (self.elsewhere / "precious.ckpt").write_bytes(b"nobody may touch this")
        self.expect_elsewhere()

    def expect_elsewhere(self) -> None:
        """Take what is elsewhere now for what must stay there."""
        self._untouched = _content(self.elsewhere)

    def touched(self) -> str:
        """Describe what has changed elsewhere; empty: nothing."""
        now = _content(self.elsewhere)
        changed = [name for name in now.keys() | self._untouched if now.get(name) != self._untouched.get(name)]
        return f"written or removed outside of the working folder: {', '.join(sorted(changed))}" if changed else ""

    def mimii(self, *arguments: object, seconds: float = 30, memory: int | None = SPACE) -> Ended:
        """Run `mimii <arguments>` in the working folder."""
        return self.call(main, [str(argument) for argument in arguments], seconds=seconds, memory=memory)

    def call(self, function: Callable[..., Any], *args: Any, seconds: float = 30, memory: int | None = SPACE) -> Ended:
        """Call a function in the working folder."""
        return self.warm.call(function, *args, folder=self.here, notes=self._notes, seconds=seconds, memory=memory)


def train_arguments(*options: str) -> list[str]:
    """Return the command line of a short training on the world of an arena."""
    return ["train", *QUICK, "dataset.root=world", "dataset.cache_dir=cache", *options]


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read the rows of a table of scores."""
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def scores_of(path: Path) -> dict[str, float]:
    """Read file -> score from a table of scores; NaN where the file was skipped."""
    return {os.path.normpath(row["file"]): float(row["score"] or "nan") for row in rows_of(path)}


def reasons_of(path: Path) -> dict[str, str]:
    """Read file -> reason for which it was skipped from a table of scores."""
    return {os.path.normpath(row["file"]): row["skipped"] for row in rows_of(path)}


def explained(function: Callable[..., Any], *args: Any) -> None:
    """Call a function of the package, and end as the command line does if it refuses its input."""
    try:
        function(*args)
    except InputError as error:
        sys.exit(f"error: {error}")


def one_by_one(function: Callable[[list], list | None], items: list) -> list:
    """Apply a function to a batch; where it returns None, to its halves; None for one item alone never occurs."""
    result = function(items)
    if result is not None:
        return result
    middle = len(items) // 2
    return one_by_one(function, items[:middle]) + one_by_one(function, items[middle:])


def _make_runs() -> None:
    for name, options in RUNS.items():
        main(train_arguments("logger=none", *options, f"hydra.run.dir=outputs/{name}"))
    main(["score", "run=outputs/detector", "input=.", f"machine_id={MACHINE_ID}", "device=cpu", "output=scores.csv"])
    main(["register", "run=outputs/detector"])


def _use_every_command(folder: Path) -> None:
    """Let everything be imported that commands import when they need it."""
    os.chdir(folder)
    before = dict(os.environ)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"  # MLflow keeps connections by address
    for number in (1, 2):
        os.dup2(os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    _make_runs()
    main(["rescore", "run=outputs/detector", "backend=gmm", "report=brief", "hydra.run.dir=outputs/rescored"])
    main(["decide", "run=outputs/rescored", "report=brief"])
    os.environ.clear()
    os.environ.update(before)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(found: Iterable[str], limit: int = 40) -> str:
    """Join faults for the message of an assertion, the first of them in full."""
    found = list(found)
    more = f"\n... and {len(found) - limit} more" if len(found) > limit else ""
    return "\n".join(["", *found[:limit]]) + more
