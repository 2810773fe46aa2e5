"""Download public archives: pooch fetches and verifies, urllib3 retries, an interrupted transfer is resumed."""

import errno
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mimii_pl.core.addresses import whole_address, without_password
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable, write_text
from mimii_pl.dataset import _archives
from mimii_pl.dataset._archives import Archive

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)
TRIES = 4  # attempts at a broken transfer, one, two and three seconds apart
BACKOFF = 0.5  # s, doubled after each error of the server
TIMEOUT = (10, 60)  # s to connect, s without a byte
CHUNK_BYTES = 1 << 16  # the most that a cut connection can lose
REASONS = {  # part of an error's text -> reason
    "NameResolution": "the host name cannot be resolved (no network?)",
    "Connection refused": "connection refused",
    "IncompleteRead": "the connection was cut",
    "too many 5": "the server has problems (too many 5xx responses)",
}
UNPACKED = 1.5  # estimated bytes on disk per byte of archive


class NotThere(Exception):  # noqa: N818  (not retried: the next mirror is tried)
    """A server that cannot be reached, or has no such file."""


def fetch(
    root: Path,
    archives: Sequence[Archive],
    lists: Sequence[tuple[str, str, str | None]] = (),
    *,
    mirrors: Sequence[str],
    keep: bool = False,
) -> list[Archive]:
    """Download, verify and unpack what is missing; see `Downloadable.fetch`. Safe to call from several processes.

    Returns:
        The archives that were missing.
    """
    from filelock import FileLock

    lists = [entry for entry in lists if not (root / "ground_truth" / entry[0]).is_file()]
    if not lists and all(_archives.is_unpacked(root, archive) for archive in archives):
        return []
    mirrors = [_whole(mirror) for mirror in mirrors]
    store = root / "archives"
    require_writable(store, "dataset.root=<another folder>")
    with FileLock(store / ".lock"), _session() as session:
        missing = [archive for archive in archives if not _archives.is_unpacked(root, archive)]
        records = {archive: _look_up(store, session, mirrors, archive) for archive in missing}
        present = {archive: _size(store / archive.name) + _size(_partial(store, archive.name)) for archive in missing}
        needed = sum(max(0, size - present[archive]) + UNPACKED * size for archive, (_, size) in records.items())
        _archives.check_space(root, int(needed), f"for {len(missing)} archives")
        for archive in missing:
            md5 = archive.md5 or records[archive][0]
            urls = [f"{mirror}/records/{archive.record}/files/{archive.name}" for mirror in mirrors]
            path = _retrieve(store, archive.name, urls, md5, session, _manual_steps(root, archive, urls[0]))
            count = _archives.unpack(root, archive, path)
            log.info("%s: %d files in %s", archive.name, count, root / archive.folder)
            if not keep:
                path.unlink()
        for name, url, md5 in lists:
            path = (root / "ground_truth" / name).resolve()
            manual_steps = f"Place it by hand at {path}, or set dataset.ground_truth=[]"
            _retrieve(path.parent, name, [_whole(url)], md5, session, manual_steps)
    return missing


class Resuming:
    """Downloader for pooch (URL, output file, pooch) that keeps and resumes an interrupted transfer."""

    def __init__(self, partial: Path, session: "requests.Session") -> None:
        self.partial, self.session = partial, session

    def __call__(self, url: str, output_file: str, _: object) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        present = _size(self.partial)  # bytes
        header = {"Range": f"bytes={present}-"} if present else {}
        with self._open(url, header) as answer:
            if answer.status_code in (401, 403, 404, 410):
                raise NotThere(f"{url}: {answer.status_code} {answer.reason}")
            if answer.status_code != 416:  # 416: nothing left to send; the checksum decides
                answer.raise_for_status()
                present = present if answer.status_code == 206 else 0
                remaining = int(answer.headers.get("Content-Length", 0))
                _archives.check_space(self.partial.parent, remaining, f"for {self.partial.stem}")
                columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
                with Progress(*columns) as bar, open(self.partial, "ab" if present else "wb") as file:
                    total = present + remaining
                    task = bar.add_task(f"downloading {self.partial.stem}", total=total, completed=present)
                    for chunk in answer.iter_content(CHUNK_BYTES):
                        file.write(chunk)
                        bar.advance(task, len(chunk))
        os.replace(self.partial, output_file)

    def _open(self, url: str, header: dict[str, str]) -> "requests.Response":
        import requests

        try:
            return self.session.get(url, stream=True, timeout=TIMEOUT, headers=header)
        except requests.ConnectionError as error:  # urllib3 has retried in vain
            raise NotThere(f"{url}: {_short(error)}") from None


def _retrieve(
    folder: Path, name: str, urls: Sequence[str], md5: str | None, session: "requests.Session", manual_steps: str
) -> Path:
    """Fetch a file with the right checksum, from the first URL that serves it."""
    import pooch
    import requests

    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel(logging.WARNING)  # the progress bar shows it
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # the final message reports it
    reasons = []
    for url in urls:
        registry = {name: f"md5:{md5}" if md5 else None}
        store = pooch.create(folder, base_url="", registry=registry, urls={name: url}, retry_if_failed=TRIES - 1)
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
                    f"no room for {name} in {folder.resolve()}: the disk filled up. The partial download is kept: free "
                    "some space and start again, or set dataset.root=<another disk>"
                ) from None
            raise
    raise InputError(f"{name} cannot be downloaded. {'; '.join(reasons)}. {manual_steps}")


def _look_up(
    store: Path, session: "requests.Session", mirrors: Sequence[str], archive: Archive
) -> tuple[str | None, int]:
    """Look up MD5 and size in bytes of an archive in its record; (None, 0) if no record can be read.

    The record is stored, so that a file without a pinned checksum is always verified against the same one.
    """
    import requests

    record = store / f"record_{archive.record}.json"
    if not record.is_file():
        for mirror in mirrors:
            try:
                answer = session.get(f"{mirror}/api/records/{archive.record}", timeout=TIMEOUT)
                answer.raise_for_status()
                files = {item["key"]: [item["checksum"], item["size"]] for item in answer.json()["files"]}
            except (requests.RequestException, ValueError, KeyError, TypeError) as error:
                log.debug("record %d: %s", archive.record, without_password(f"{mirror}: {error}"))
                continue
            write_text(record, json.dumps(files))
            break
        else:
            return None, 0
    checksum, size = json.loads(record.read_text()).get(archive.name, (None, 0))
    return checksum and checksum.removeprefix("md5:"), size


def _whole(url: str) -> str:
    """Return a URL with its password; raise InputError if that is not known."""
    whole = whole_address(url)
    if whole is None:
        raise InputError(f"{url}: its password is not stored: give the whole URL again, as dataset.mirrors=[...]")
    return whole


def _session() -> "requests.Session":
    import requests
    from urllib3.util import Retry

    session = requests.Session()
    retry = Retry(
        total=TRIES,
        connect=1,
        read=1,
        status=TRIES,
        backoff_factor=BACKOFF,
        status_forcelist=(429, 500, 502, 503, 504),
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retry))
    return session


def _manual_steps(root: Path, archive: Archive, url: str) -> str:
    return (
        f"By hand: download {url} elsewhere and copy it to {(root / 'archives').resolve()}, or unpack it so that "
        f"{(root / archive.folder / archive.machine).resolve()} exists. Without any download: dataset=synthetic"
    )


def _short(error: Exception) -> str:
    """Return the reason without the wrappers that requests and urllib3 put around it."""
    text = str(error)
    return next((reason for sign, reason in REASONS.items() if sign in text), text)


def _partial(folder: Path, name: str) -> Path:
    return folder / f"{name}.partial"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
