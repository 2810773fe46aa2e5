"""Recordings in folders: one walk for training and for scoring."""

import logging
import os
import unicodedata
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import from_windows_1252, is_utf8, printable, read_rows
from mimii_pl.dataset._audio import SUFFIXES, UNREAD

OF_AUDIO = frozenset((*SUFFIXES, *UNREAD))
log = logging.getLogger(__name__)
Skip = Callable[[str, str], None]  # takes a folder that is left out, and the reason


def is_audio(name: str) -> bool:
    """Return True for the name of a recording, of any kind, that is not hidden."""
    return os.path.splitext(name)[1].lower() in OF_AUDIO and not name.startswith(".")


def entries(folder: str, skip: Skip) -> list[tuple[str, bool]]:
    """List the names in a folder, sorted, and whether each is a folder or a link to one."""
    try:
        with os.scandir(folder or ".") as found:
            return sorted((entry.name, os.path.isdir(entry.path)) for entry in found)
    except OSError as error:
        skip(folder, error.strerror or str(error))
        return []


DEEPEST = 200  # folders within one another
Folder = tuple[int, int]  # device and inode


def audio_files(
    folder: str, skip: Skip, above: frozenset[Folder] = frozenset(), linked: set[Folder] | None = None
) -> Iterator[str]:
    """Yield the audio files below a folder, sorted by name; links to folders are followed, but not in a circle.

    Only the entries of the folders on the current path are in memory.

    Args:
        above: the folders above.
        linked: the folders walked below the same link, each of which is walked once however many links lead to it.
    """
    try:
        status = os.stat(folder or ".")
    except OSError as error:
        skip(folder, error.strerror or str(error))
        return
    own = status.st_dev, status.st_ino
    if own in above:
        skip(folder, "a link to a folder above it")
        return
    if len(above) > DEEPEST:
        skip(folder, f"more than {DEEPEST} folders deep")
        return
    if linked is not None:
        if own in linked:
            return
        linked.add(own)
    for name, is_folder in entries(folder, skip):
        path = os.path.join(folder, name)
        if name.startswith("."):
            continue
        if is_folder and not (is_audio(name) and os.path.islink(path)):
            below = set() if linked is None and os.path.islink(path) else linked
            yield from audio_files(path, skip, above | {own}, below)
        elif is_audio(name):  # what is no file, or of a kind that is not read, the decoder names
            yield path
        elif not os.path.exists(path):
            skip(path, "a link to nothing")


def listed_file(folder: str, name: str) -> str:
    """Return the path of a file that a list names, from the folder that its paths start from.

    A suffix may be omitted; a name may be stored composed or decomposed (NFC, NFD), or in bytes of Windows-1252.
    """
    path = os.path.join(folder, name)
    if os.path.lexists(path):
        return path
    names = [text for text in (name, from_windows_1252(name)) if text is not None]
    forms = [unicodedata.normalize(form, text) for text in names for form in ("NFC", "NFD")]
    for spelling in dict.fromkeys([*names, *forms]):
        for suffix in ("", *SUFFIXES, *(suffix.upper() for suffix in SUFFIXES)):
            if os.path.lexists(candidate := os.path.join(folder, spelling + suffix)):
                return candidate
    return path


def listed_rows(path: Path, folder: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of a table; text that is not UTF-8 is read as Windows-1252, but for names of files.

    Args:
        folder: that relative names start from.

    Raises:
        InputError: it is no table, or its text is neither.
    """
    said = False
    for line, cells in read_rows(path):
        for place, cell in enumerate(cells):
            if is_utf8(cell) or os.path.lexists(os.path.join(folder, cell)):
                continue
            decoded = from_windows_1252(cell)
            if decoded is None:
                raise InputError(
                    f"{path}, line {line}: {printable(cell)!r} is neither UTF-8 nor Windows-1252: save the table as "
                    "UTF-8"
                )
            if not said:
                log.warning("%s is not UTF-8: read as Windows-1252", path)
                said = True
            cells[place] = decoded
        yield line, cells


def matching_files(folder: str, pattern: str, skip: Skip) -> Iterator[str]:
    """Yield the audio files whose path below a folder matches a pattern, name by name: `*_dB_*/*/id_*/*/*`."""
    first, _, rest = pattern.partition("/")
    for name, is_folder in entries(folder, skip):
        if fnmatchcase(name, first):
            path = os.path.join(folder, name)
            if rest and is_folder:
                yield from matching_files(path, rest, skip)
            elif not rest and not is_folder and is_audio(name):
                yield path
