"""Class probabilities of the test clips, `predictions.csv`, and the results computed from them."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_csv
from mimii_pl.scoring.class_metrics import of_classes, overall
from mimii_pl.scoring.results import Result

ALL_CLASSES = "all"  # the `id` of results over all classes; those of one class have its name


class Predictions(NamedTuple):
    """Class probabilities of N clips for K classes.

    Attributes:
        files: paths, N.
        machine_ids: `fan/id_00` of each.
        classes: names, K.
        label: [N] number of the true class; -1 if it was not seen in training.
        probability: [N, K].
    """

    files: list[str]
    machine_ids: list[str]
    classes: list[str]
    label: NDArray
    probability: NDArray

    @property
    def known(self) -> "Predictions":
        """The clips of classes seen in training."""
        rows = np.flatnonzero(self.label >= 0)
        files, ids = ([column[row] for row in rows] for column in (self.files, self.machine_ids))
        return self._replace(files=files, machine_ids=ids, label=self.label[rows], probability=self.probability[rows])


def class_results(predictions: Predictions, machine: str) -> list[Result]:
    """Compute results over all classes, then of each class, from the clips of classes seen in training."""
    known = predictions.known
    values = overall(known.label, known.probability)
    results = [Result(machine, ALL_CLASSES, name, value) for name, value in values.items()]
    for class_name, values in zip(known.classes, of_classes(known.label, known.probability), strict=True):
        results += [Result(machine, class_name, name, value) for name, value in values.items()]
    return results


# --- on disk ---------------------------------------------------------------------------------------------------------
FIRST = ("file", "machine", "id", "class", "taken_for")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write csv: file, machine, id, true class, predicted class, then the probability of each class, unrounded."""
    header = (*FIRST, *(f"p({name})" for name in predictions.classes))
    names = [*predictions.classes, ""]
    rows = []
    for file, own, label, shares in zip(
        predictions.files, predictions.machine_ids, predictions.label, predictions.probability, strict=True
    ):
        taken = names[int(shares.argmax())]
        rows.append((file, *own.split("/", 1), names[label], taken, *(repr(float(share)) for share in shares)))
    write_csv(path, header, rows)


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        InputError: the file is missing, or one of its lines is not a prediction.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: only a finished run of task=classification has it")
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        heads, *rows = csv.reader(file)
    classes = [head.removeprefix("p(")[:-1] for head in heads[len(FIRST) :]]
    return _parsed(path, classes, rows)


def _parsed(path: Path, classes: list[str], rows: Sequence[Sequence[str]]) -> Predictions:
    number = {name: index for index, name in enumerate(classes)} | {"": -1}
    label, shares = np.empty(len(rows), int), np.empty((len(rows), len(classes)))
    for line, row in enumerate(rows):
        try:
            label[line], shares[line] = number[row[3]], [float(value) for value in row[len(FIRST) :]]
        except (IndexError, KeyError, ValueError) as error:
            raise InputError(f"{path}, line {line + 2}: {error!r}; expected {', '.join(FIRST)}, ...") from error
    return Predictions([row[0] for row in rows], [f"{row[1]}/{row[2]}" for row in rows], classes, label, shares)
