"""Embeddings of clips by networks of others, kept in a file beside the audio cache."""

import hashlib
import logging
import sqlite3
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mimii_pl.core.databases import WAIT

log = logging.getLogger(__name__)
CREATE = "CREATE TABLE IF NOT EXISTS embedding (clip BLOB PRIMARY KEY, windows INTEGER, value BLOB)"


class EmbeddingCache:
    """Embeddings by their network and by the samples of the clip, in a file of SQLite that processes share.

    Those of a batch are added in one transaction, whole or not at all. If the file cannot be used, all are computed.

    Args:
        path: the file; it is made if it is missing.
        network: returns a digest of all that embeddings depend on besides the clip; called once, with the first clips.
    """

    def __init__(self, path: Path, network: Callable[[], bytes]) -> None:
        self.path, self.network = path, network
        self.used = self.computed = 0
        self.file: sqlite3.Connection | None = None
        try:
            self.file = sqlite3.connect(path, WAIT)
            with self.file:
                self.file.execute(CREATE)
        except sqlite3.Error as error:
            self._give_up(error)

    @cached_property
    def key(self) -> bytes:
        return self.network()

    def complete(self, waves: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the embeddings of waveforms [B, T] as `embed` computes them, [B, W, D], but compute only new ones."""
        clips = [hashlib.blake2b(wave.tobytes(), key=self.key).digest() for wave in waves.cpu().numpy()]
        known = self._read(clips)
        new = [row for row, clip in enumerate(clips) if clip not in known]
        if new:
            values = embed(waves[new]).cpu().numpy()
            known |= dict(zip((clips[row] for row in new), values, strict=True))
            self._add([(clips[row], value) for row, value in zip(new, values, strict=True)])
        self.used, self.computed = self.used + len(clips) - len(new), self.computed + len(new)
        return torch.from_numpy(np.stack([known[clip] for clip in clips])).to(waves.device)

    def close(self) -> None:
        """Close the file, and say how many embeddings came from it."""
        if self.file is not None:
            self.file.close()
            log.info("embeddings: %d computed, %d found in %s", self.computed, self.used, self.path)

    def _read(self, clips: list[bytes]) -> dict[bytes, np.ndarray]:
        if self.file is None:
            return {}
        query = f"SELECT clip, windows, value FROM embedding WHERE clip IN ({','.join('?' * len(clips))})"
        try:
            rows = self.file.execute(query, clips).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return {}
        return {clip: np.frombuffer(value, np.float32).reshape(windows, -1) for clip, windows, value in rows}

    def _add(self, values: list[tuple[bytes, np.ndarray]]) -> None:
        if self.file is None:
            return
        try:
            with self.file:
                rows = [(clip, len(value), value.tobytes()) for clip, value in values]
                self.file.executemany("INSERT OR IGNORE INTO embedding VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:  # a full disk, for example
            self._give_up(error)

    def _give_up(self, error: sqlite3.Error) -> None:
        log.warning("%s cannot be used (%s): embeddings are computed again. It may be removed", self.path, error)
        if self.file is not None:
            self.file.close()
        self.file = None
