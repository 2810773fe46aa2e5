"""A map of a run's embeddings: t-SNE of all machine IDs together, one figure per machine ID."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mimii_pl.core.files import read_arrays
from mimii_pl.report.figures import CLASSES, Image, embedding_map
from mimii_pl.scoring.scores import ClipScore

MAX_MAP_CLIPS = 1000  # clips on a map: t-SNE takes seconds
MIN_MAP_CLIPS = 8  # clips that make a map


def maps(path: Path, clips: Sequence[ClipScore]) -> dict[tuple[str, str], Image]:
    """Figure per (machine, ID) from `embeddings.npz`; empty where there is none, or too few clips.

    All test clips are on the map as far as there is room, and training clips drawn evenly from all.
    """
    if not path.is_file():
        return {}
    kept = read_arrays(path)
    rows = _some(kept["split"])
    if len(rows) < MIN_MAP_CLIPS:
        return {}
    places = _places(kept["embedding"][rows])
    label = {clip.file: clip.label for clip in clips}
    test, machine, name = kept["split"][rows] == "test", kept["machine"][rows], kept["machine_id"][rows]
    known = np.array([label.get(file, -1) for file in kept["path"][rows]])
    images = {}
    for one in sorted({clip[:2] for clip in clips}):
        own = (machine == one[0]) & (name == one[1])
        groups = {"training": np.flatnonzero(own & ~test)}
        groups |= {words: np.flatnonzero(own & test & (known == number)) for number, (words, _) in CLASSES.items()}
        images[one] = embedding_map(places, groups, " ".join(one))
    return images


def _some(split: np.ndarray) -> np.ndarray:
    test, rest = np.flatnonzero(split == "test"), np.flatnonzero(split != "test")
    test = test[:: -(-len(test) // MAX_MAP_CLIPS)] if len(test) else test
    room = max(MAX_MAP_CLIPS - len(test), MAX_MAP_CLIPS // 4)
    return np.concatenate([rest[:: max(1, -(-len(rest) // room))], test])


def _places(embeddings: np.ndarray) -> np.ndarray:
    """[N, D] -> [N, 2], dimensions scaled to unit variance first."""
    from sklearn.manifold import TSNE

    values = np.nan_to_num(embeddings.astype(np.float64))
    spread = values.std(axis=0)
    values = ((values - values.mean(axis=0)) / np.where(spread > 1e-9, spread, 1)).astype(np.float32)
    if np.ptp(values) == 0:
        return np.zeros((len(values), 2), np.float32)
    start = "pca" if values.shape[1] > 1 else "random"
    return TSNE(perplexity=min(30, (len(values) - 1) / 3), init=start, random_state=0).fit_transform(values)
