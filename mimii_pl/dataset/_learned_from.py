"""The clips that a run learned from, `clips.csv`: a run that continues on others would mix two data sets."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mimii_pl.core.files import stored_rows, write_csv
from mimii_pl.core.foreign import file_cell

if TYPE_CHECKING:
    from mimii_pl.dataset._datamodule import MachineSounds

CLIPS_FILE = "clips.csv"
COLUMNS = ("split", "file", "digest")  # digest: SHA-256 of the decoded samples
LEARNED = ("train", "validation")
NAMED = 5  # clips in a message


def write_clips(data: "MachineSounds", run_dir: Path) -> None:
    """Write the clips that a run learns from, in the order of the cache."""
    write_csv(run_dir / CLIPS_FILE, COLUMNS, _clips(data))


def clip_changes(data: "MachineSounds", run_dir: Path) -> str:
    """Return how the clips differ from those that a run learned from, in one line; empty: they are the same.

    Only samples and split count: a data set may be moved or its files renamed. A run of an earlier version has no list.
    """
    path = run_dir / CLIPS_FILE
    if not path.is_file():
        return ""
    before = [(row["split"], row["file"], row["digest"]) for row in stored_rows(path, COLUMNS)]
    now = _clips(data)
    gone, new = _without(before, now), _without(now, before)
    parts = [(text, clips) for text, clips in (("changed or gone", gone), ("new or changed", new)) if clips]
    return "; ".join(f"{len(clips)} {text}: {_named(clips)}" for text, clips in parts)


def _clips(data: "MachineSounds") -> list[tuple[str, str, str]]:
    return [
        (split, file_cell(data.clips[row].name), data.digests[row]) for split in LEARNED for row in data.rows(split)
    ]


def _without(clips: list[tuple[str, str, str]], others: list[tuple[str, str, str]]) -> list[str]:
    """Return the files whose split and content are not among the others; copies are counted."""
    left = Counter((split, digest) for split, _, digest in others)
    files = []
    for split, file, digest in clips:
        if left[split, digest]:
            left[split, digest] -= 1
        else:
            files.append(file)
    return files


def _named(files: list[str]) -> str:
    return ", ".join(files[:NAMED]) + (f" and {len(files) - NAMED} more" if len(files) > NAMED else "")
