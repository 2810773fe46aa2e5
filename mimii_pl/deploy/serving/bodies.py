"""Receive the recordings of a request as files whose names are ours, and no more bytes than allowed."""

import asyncio
import shutil
import wave
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from mimii_pl.core.foreign import printable
from mimii_pl.deploy.serving.limits import MOST_CHANNELS, UPLOAD_SECONDS, Refused, RequestLimits

MULTIPART, PCM = "multipart/form-data", "audio/pcm"  # types of a body that are not one file
MAX_FIELDS = 8  # of a form, besides files
LONGEST_FILE_NAME = 200  # characters of a recording's name in the answer
PCM_RATES = range(1_000, 400_001)  # Hz


class Upload(NamedTuple):
    """A recording that was sent: its name in the answer, and where it lies."""

    name: str
    path: Path


async def receive(
    request: Request, folder: Path, limits: RequestLimits, rate: int | None, channels: int
) -> tuple[list[Upload], str | None]:
    """Write the recordings of a request into a folder.

    Args:
        rate: Hz of samples without a header (`audio/pcm`, int16, little-endian).
        channels: of them, interleaved.

    Returns:
        The recordings, and the machine ID that a form names, if it does.

    Raises:
        Refused: the body is too large, too slow, empty, or no such thing as its type says.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.bytes:
        raise limits.refuse_size()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    counted = Request(request.scope, _counted(request, limits))
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            if kind == MULTIPART:
                return await _form(counted, folder, limits)
            return [await _whole(counted, folder, kind, rate, channels)], None
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {UPLOAD_SECONDS:g} s", "upload", UPLOAD_SECONDS) from None


def _counted(request: Request, limits: RequestLimits) -> Any:
    """Return the receiving function of a request, which refuses more bytes than allowed."""
    taken = 0

    async def receive_counted() -> Any:
        nonlocal taken
        message = await request.receive()
        taken += len(message.get("body", b""))
        if taken > limits.bytes:
            raise limits.refuse_size()
        return message

    return receive_counted


async def _whole(request: Request, folder: Path, kind: str, rate: int | None, channels: int) -> Upload:
    """Take the body as one recording."""
    path = folder / "body"
    if kind == PCM and (rate not in PCM_RATES or not 1 <= channels <= MOST_CHANNELS):
        raise Refused(
            422, f"{PCM} needs its sampling frequency and channels: /score?rate=16000 (1,000 to 400,000 Hz, 1 to 64)"
        )
    size = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            size += file.write(chunk)
    if not size:
        raise Refused(422, "the body is empty: send the bytes of a recording, or a form with files")
    if kind == PCM:
        assert rate is not None
        path = await asyncio.to_thread(_with_header, path, rate, channels)
    return Upload("", path)


def _with_header(path: Path, rate: int, channels: int) -> Path:
    content = path.read_bytes()
    if len(content) % (2 * channels):
        raise Refused(422, f"{len(content)} bytes are no whole number of int16 samples of {channels} channels")
    target = path.with_name("pcm")
    with wave.open(str(target), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(content)
    path.unlink()
    return target


async def _form(request: Request, folder: Path, limits: RequestLimits) -> tuple[list[Upload], str | None]:
    """Take every file of a form as a recording."""
    try:
        form = await request.form(max_files=limits.files, max_fields=MAX_FIELDS)
    except HTTPException as error:
        if "Too many files" in str(error.detail):
            raise Refused(413, f"more than {limits.files} files in a request", "files", limits.files) from None
        raise Refused(400, f"not a form with files: {error.detail}") from None
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            raise Refused(422, "the form has no file: give each recording as a file of the form")
        machine_id = form.get("machine_id")
        return [
            await asyncio.to_thread(_copied, file, folder / str(number)) for number, file in enumerate(files)
        ], machine_id if isinstance(machine_id, str) else None
    finally:
        await form.close()


def _copied(upload: UploadFile, path: Path) -> Upload:
    with path.open("wb") as target:
        shutil.copyfileobj(upload.file, target)
    return Upload(printable(upload.filename or "")[:LONGEST_FILE_NAME], path)
