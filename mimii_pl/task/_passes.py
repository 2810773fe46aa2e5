"""The pass of all clips through a trained detector: what is computed from them later comes from it."""

import math
from pathlib import Path

import numpy as np

from mimii_pl.core.files import write_arrays
from mimii_pl.dataset import ClipRows, MachineSounds
from mimii_pl.dataset._clip import Split
from mimii_pl.scoring.cost import multiply_accumulates
from mimii_pl.scoring.scorer import OnePass, Output, Scorer

PASSED: tuple[Split, ...] = ("train", "validation", "test")
MAP_CLIPS = 500  # clips on the page's map, so that it takes seconds
MAP_WORK = 2e11  # multiply-accumulates for training clips on it, which are passed for it alone: likewise
FEWEST_FOR_MAP = 32  # training clips on it


class Passes:
    """The clips of each split, passed through the detector once.

    With a back end, all clips are embedded. Without one, held-out and test clips are scored, and embedded with a sample
    of the training clips for the map on the page.

    Args:
        scorer: of a trained detector.
        backend: whether there is a back end.
        page: whether a page is made.

    Attributes:
        rows: split -> cache rows of the clips that were passed.
        of: split -> what the pass gave.
    """

    def __init__(self, scorer: Scorer, data: MachineSounds, *, backend: bool, page: bool) -> None:
        self.rows: dict[Split, np.ndarray] = {split: data.rows(split) for split in PASSED}
        embeds = scorer.detector.has_embedding and (backend or page)
        if not backend:
            room = max(MAP_CLIPS - len(self.rows["validation"]) - len(self.rows["test"]), MAP_CLIPS // 4)
            self.rows["train"] = thinned(self.rows["train"], min(room, _affordable(scorer, data)) if embeds else room)
        self.of: dict[Split, OnePass] = {}
        for split, rows in self.rows.items():
            outputs: list[Output] = ["embedding"] if embeds else []
            if split != "train" and not backend:
                outputs.append("score")
            if split == "validation" and scorer.detector.supports("classify"):
                outputs.append("probability")
            clips = ClipRows(data.waves, rows), data.machine_id[rows]
            self.of[split] = scorer.pass_waves(*clips, outputs, f"computing {' and '.join(outputs)} of {split} clips")

    @property
    def embeddings(self) -> np.ndarray | None:
        """Embeddings of the training, validation and test clips, averaged over windows, [N, D]; None without any."""
        parts = [passed.embedding for passed in self.of.values() if passed.embedding is not None]
        parts = [part for part in parts if len(part)]
        return np.concatenate(parts) if parts else None

    def write_embeddings(self, data: MachineSounds, path: Path) -> None:
        """Write the embeddings, if there are any, with the metadata of their clips but without their labels."""
        embeddings = self.embeddings
        if embeddings is None:
            return
        rows = np.concatenate(list(self.rows.values()))
        clips = [data.clips[row] for row in rows]
        names = {"split": "split", "machine": "machine", "machine_id": "machine_id", "path": "name"}
        columns = {name: np.array([str(getattr(clip, own)) for clip in clips]) for name, own in names.items()}
        columns["rpm"] = np.array([data.rpm_of(row) or np.nan for row in rows])
        write_arrays(path, {"embedding": embeddings, **columns})


def _affordable(scorer: Scorer, data: MachineSounds) -> int:
    """Return how many clips may be embedded for the map alone."""
    clips, ids = data.of("train")
    return max(FEWEST_FOR_MAP, int(MAP_WORK / max(1, multiply_accumulates(scorer, clips[:1], ids[:1]))))


def thinned(rows: np.ndarray, most: int | None) -> np.ndarray:
    """Choose at most so many rows, evenly spaced; None: all."""
    return rows[:: max(1, math.ceil(len(rows) / most))] if most else rows
