"""The normal clip that is nearest to a clip, in the embeddings of a run."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mimii_pl.core.errors import damaged
from mimii_pl.core.files import read_arrays
from mimii_pl.scoring.scorer import Scorer

BANK_ROWS = 4096  # compared at a time


class Neighbour(NamedTuple):
    """The nearest normal clip.

    Attributes:
        path: its file.
        rpm: speed of its shaft in revolutions per minute; None: unknown.
        words: how it was found.
    """

    path: Path
    rpm: float | None
    words: str


class NormalClips:
    """The normal clips that a run learned from, with their embeddings, averaged over windows.

    Distances are Euclidean after each value is divided by its standard deviation over the normal clips of the machine
    ID. Where the back end uses a named view of the embedding, or its first member does, only that view counts.

    Args:
        path: `embeddings.npz` of the run.
        scorer: of the run.

    Raises:
        InputError: the file is damaged.
    """

    def __init__(self, path: Path, scorer: Scorer) -> None:
        kept = read_arrays(path)
        views = scorer.detector.views
        view = scorer.backend.first_view if scorer.backend is not None else None
        self.view = view if view in views else None
        with damaged(path):
            embeddings = kept["embedding"].reshape(len(kept["path"]), -1)
            self.embeddings = embeddings if self.view is None else embeddings[:, views[self.view]]
            learned = ("train", "validation") if scorer.detector.training_free else ("train",)
            self.bank = np.isin(kept["split"], learned)
            self.paths, self.keys = kept["path"], np.stack([kept["machine"], kept["machine_id"]], axis=1)
            self.rpm = kept["rpm"].astype(float) if "rpm" in kept else np.full(len(self.paths), np.nan)
            if not len(self.rpm) == len(self.bank) == len(self.paths):
                raise ValueError("its arrays have different lengths")
            self.row_of = {str(file): row for row, file in enumerate(self.paths)}

    def nearest(self, file: str) -> Neighbour | None:
        """Find the normal clip nearest to a clip, of its own machine ID; of all where that has no normal clip.

        Args:
            file: path of the clip, as in `scores.csv`.

        Returns:
            The neighbour; None if the run has no embedding of the clip.
        """
        row = self.row_of.get(str(Path(file)))
        if row is None:
            return None
        own = self.bank & (self.keys == self.keys[row]).all(axis=1)
        rows = np.flatnonzero(own if own.any() else self.bank)
        rows = rows[rows != row]
        if not len(rows):
            return None
        chosen = rows[self._distances(row, rows).argmin()]
        rpm = self.rpm[chosen]
        whose = "of its machine ID" if own.any() else "of all machine IDs"
        what = f"view {self.view}" if self.view else "embeddings"
        words = f"nearest of the {len(rows)} normal clips {whose}: standardized Euclidean distance of {what}"
        return Neighbour(Path(str(self.paths[chosen])), float(rpm) if rpm > 0 and np.isfinite(rpm) else None, words)

    def _distances(self, row: int, rows: np.ndarray) -> np.ndarray:
        """Compute the distance of one clip to each of `rows`, [n]."""
        parts = [rows[at : at + BANK_ROWS] for at in range(0, len(rows), BANK_ROWS)]
        sums = np.zeros((2, self.embeddings.shape[1]))
        for part in parts:
            values = np.nan_to_num(self.embeddings[part].astype(float))
            sums += values.sum(axis=0), np.square(values).sum(axis=0)
        mean, square = sums / len(rows)
        spread = np.sqrt(np.maximum(square - mean**2, 0))
        scale = 1 / np.where(spread > 1e-9, spread, 1)
        query = np.nan_to_num(self.embeddings[row].astype(float))
        return np.concatenate(
            [
                np.linalg.norm((np.nan_to_num(self.embeddings[part].astype(float)) - query) * scale, axis=1)
                for part in parts
            ]
        )
