"""Getting public archives: pooch fetches and checks, urllib3 retries, a cut download goes on where it ended."""

import errno
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_text
from mimii_pl.dataset import _archives
from mimii_pl.dataset._archives import Archive

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)
TRIES = 4  # of a broken transfer, one, two, three seconds apart
BACKOFF = 0.5  # s, doubled with each answer of a server in trouble
TIMEOUT = (10, 60)  # s to connect, and without a byte
CHUNK_BYTES = 1 << 16  # bytes; what a cut connection can lose
UNPACKED = 1.5  # bytes on disk per byte of archive, before the archive can tell


class NotThere(Exception):  # noqa: N818  (not retried: the next mirror is asked)
    """A server cannot be reached, or says that it has no such file."""


def fetch(
    root: Path,
    archives: Sequence[Archive],
    lists: Sequence[tuple[str, str, str | None]] = (),
    *,
    mirrors: Sequence[str],
    keep: bool = False,
) -> list[Archive]:
    """Download, verify and unpack what is missing; see `Published.fetch`. Several processes may ask at once."""
    from filelock import FileLock

    lists = [entry for entry in lists if not (root / "ground_truth" / entry[0]).is_file()]
    if not lists and all(_archives.is_unpacked(root, archive) for archive in archives):
        return []
    store = root / "archives"
    store.mkdir(parents=True, exist_ok=True)
    with FileLock(store / ".lock"), _session() as session:
        missing = [archive for archive in archives if not _archives.is_unpacked(root, archive)]
        sizes = {archive: _ask(store, session, mirrors, archive) for archive in missing}
        here = {archive: _size(store / archive.name) + _size(_partial(store, archive.name)) for archive in missing}
        to_come = sum(max(0, size - here[archive]) + UNPACKED * size for archive, (_, size) in sizes.items())
        _archives.check_space(root, int(to_come), f"for {len(missing)} archives")
        for archive in missing:
            md5 = archive.md5 or sizes[archive][0]
            urls = [f"{mirror}/records/{archive.record}/files/{archive.name}" for mirror in mirrors]
            help_ = _by_hand(root, archive, urls[0])
            path = _retrieve(store, archive.name, urls, md5, session, help_)
            count = _archives.unpack(root, archive, path)
            log.info("%s: %d files in %s", archive.name, count, root / archive.folder)
            if not keep:
                path.unlink()
        for name, url, md5 in lists:
            path = (root / "ground_truth" / name).resolve()
            _retrieve(path.parent, name, [url], md5, session, f"Put it there by hand, {path}, or set ground_truth=[]")
    return missing


class Resuming:
    """Downloader for pooch (address, output file, pooch) that keeps what a broken transfer brought."""

    def __init__(self, partial: Path, session: "requests.Session") -> None:
        self.partial, self.session = partial, session

    def __call__(self, url: str, output_file: str, _: object) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        have = _size(self.partial)
        header = {"Range": f"bytes={have}-"} if have else {}
        with self._open(url, header) as answer:
            if answer.status_code in (401, 403, 404, 410):
                raise NotThere(f"{url}: {answer.status_code} {answer.reason}")
            if answer.status_code != 416:  # 416: nothing is left to send; the checksum tells whether it is the file
                answer.raise_for_status()
                have = have if answer.status_code == 206 else 0
                to_come = int(answer.headers.get("Content-Length", 0))
                _archives.check_space(self.partial.parent, to_come, f"for {self.partial.stem}")
                columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
                with Progress(*columns) as bar, open(self.partial, "ab" if have else "wb") as file:
                    task = bar.add_task(f"downloading {self.partial.stem}", total=have + to_come, completed=have)
                    for chunk in answer.iter_content(CHUNK_BYTES):
                        file.write(chunk)
                        bar.advance(task, len(chunk))
        os.replace(self.partial, output_file)

    def _open(self, url: str, header: dict[str, str]) -> "requests.Response":
        import requests

        try:
            return self.session.get(url, stream=True, timeout=TIMEOUT, headers=header)
        except requests.ConnectionError as error:  # urllib3 has tried again; nothing has come
            raise NotThere(f"{url}: {_short(error)}") from None


def _retrieve(
    folder: Path, name: str, urls: Sequence[str], md5: str | None, session: "requests.Session", help_: str
) -> Path:
    """One file with the right checksum, from the first address that gives it."""
    import pooch
    import requests

    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel(logging.WARNING)  # the progress bar says it
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # so does the message at the end
    reasons = []
    for url in urls:
        known = f"md5:{md5}" if md5 else None
        store = pooch.create(folder, base_url="", registry={name: known}, urls={name: url}, retry_if_failed=TRIES - 1)
        try:
            return Path(store.fetch(name, downloader=Resuming(_partial(folder, name), session)))
        except NotThere as error:
            reasons.append(str(error))
        except requests.RequestException as error:
            reasons.append(f"{url}: {_short(error)}")
        except ValueError:
            reasons.append(f"{url}: its MD5 is not {md5}")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(
                    f"no room for {name} in {folder.resolve()}: it filled up. What has come is kept: free some and "
                    "start again, or choose dataset.root=<another disk>"
                ) from None
            raise
    raise InputError(f"{name} cannot be had. {'; '.join(reasons)}. {help_}")


def _ask(store: Path, session: "requests.Session", mirrors: Sequence[str], archive: Archive) -> tuple[str | None, int]:
    """MD5 and size in bytes of an archive as its record tells them; (None, 0) where no record can be read.

    What a record has told is remembered: a file without a pinned checksum is checked against it for ever.
    """
    import requests

    known = store / f"record_{archive.record}.json"
    if not known.is_file():
        for mirror in mirrors:
            try:
                answer = session.get(f"{mirror}/api/records/{archive.record}", timeout=TIMEOUT)
                answer.raise_for_status()
                files = {item["key"]: [item["checksum"], item["size"]] for item in answer.json()["files"]}
            except (requests.RequestException, ValueError, KeyError, TypeError) as error:
                log.debug("record %d cannot be read from %s: %s", archive.record, mirror, error)
                continue
            write_text(known, json.dumps(files))
            break
        else:
            return None, 0
    checksum, size = json.loads(known.read_text()).get(archive.name, (None, 0))
    return checksum and checksum.removeprefix("md5:"), size


def _session() -> "requests.Session":
    import requests
    from urllib3.util import Retry

    session = requests.Session()
    retry = Retry(
        total=TRIES, connect=1, read=1, status=TRIES, backoff_factor=BACKOFF,
        status_forcelist=(429, 500, 502, 503, 504),
    )  # fmt: skip
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retry))
    return session


def _by_hand(root: Path, archive: Archive, url: str) -> str:
    return (
        f"By hand: download {url} elsewhere and put it into {(root / 'archives').resolve()}, or unpack it so that "
        f"{(root / archive.folder / archive.machine).resolve()} exists. Without any download: dataset=synthetic"
    )


def _short(error: Exception) -> str:
    """The reason without the chain of wrappers that requests and urllib3 put around it."""
    text = str(error)
    for sign, short in (("NameResolution", "the host's name is not known (no network?)"),
                        ("Connection refused", "connection refused"), ("IncompleteRead", "the connection was cut"),
                        ("too many 5", "the server is in trouble (too many 5xx answers)")):  # fmt: skip
        if sign in text:
            return short
    return text


def _partial(folder: Path, name: str) -> Path:
    return folder / f"{name}.partial"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
