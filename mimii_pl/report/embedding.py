"""Maps of a run's embeddings: one t-SNE of all machine IDs, one figure per machine ID."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mimii_pl.core.files import read_arrays
from mimii_pl.dataset._channels import split_channel
from mimii_pl.report.figures import CLASSES, Image, embedding_map
from mimii_pl.scoring.scores import ClipScore

MIN_MAP_CLIPS = 8  # fewer clips make no map


class PlacedClips(NamedTuple):
    """Places of clips on the map.

    Attributes:
        places: [N, 2].
        columns: split, machine, machine_id and path of each, [N].
    """

    places: np.ndarray
    columns: dict[str, np.ndarray]


def place_clips(path: Path, limit: int) -> PlacedClips | None:
    """Place the clips of `embeddings.npz` on a map; None without the file, or with too few clips.

    The map has all test clips as far as there is room for `limit` clips, and training clips evenly spaced.
    """
    if not path.is_file():
        return None
    kept = read_arrays(path)
    rows = _map_rows(kept["split"], limit)
    if len(rows) < MIN_MAP_CLIPS:
        return None
    columns = {name: kept[name][rows] for name in ("split", "machine", "machine_id", "path")}
    return PlacedClips(_places(kept["embedding"][rows]), columns)


def map_of_id(placed: PlacedClips, key: tuple[str, str], clips: Sequence[ClipScore]) -> Image:
    """Draw the map of a (machine, ID), with the labels of its scored clips."""
    label = {str(Path(clip.file)): clip.label for clip in clips}
    own = np.flatnonzero((placed.columns["machine"] == key[0]) & (placed.columns["machine_id"] == key[1]))
    files, test = placed.columns["path"][own], placed.columns["split"][own] == "test"
    known = np.array([label.get(str(split_channel(Path(file))[0]), -1) for file in files])
    groups = {"training": own[~test]}
    groups |= {words: own[test & (known == number)] for number, (words, _) in CLASSES.items()}
    return embedding_map(placed.places, groups, " ".join(key))


def _map_rows(split: np.ndarray, limit: int) -> np.ndarray:
    test, rest = np.flatnonzero(split == "test"), np.flatnonzero(split != "test")
    test = test[:: max(1, math.ceil(len(test) / limit))]
    room = max(limit - len(test), limit // 4)
    return np.concatenate([rest[:: max(1, math.ceil(len(rest) / room))], test])


def _places(embeddings: np.ndarray) -> np.ndarray:
    """Reduce embeddings [N, D] to places [N, 2], after scaling each dimension to unit variance."""
    from sklearn.manifold import TSNE

    values = np.nan_to_num(embeddings.astype(np.float64))
    spread = values.std(axis=0)
    values = ((values - values.mean(axis=0)) / np.where(spread > 1e-9, spread, 1)).astype(np.float32)
    if np.ptp(values) == 0:
        return np.zeros((len(values), 2), np.float32)
    start = "pca" if values.shape[1] > 1 else "random"
    perplexity = min(30, (len(values) - 1) / 3)
    # neither twice as many iterations nor an angle of .5 keep neighbours better: trustworthiness .997 of 360 clips
    options = {"perplexity": perplexity, "init": start, "max_iter": 500, "angle": 0.8}
    return TSNE(**options, random_state=0).fit_transform(values)
