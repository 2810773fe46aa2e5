"""FFmpeg in a process of its own: reads a source's name from the standard input and writes its sound.

On the standard output come an empty line once the libraries are imported, a line of JSON with rate, channels, and
whether the source ends, and then for each frame the samples that were lost before it, its bytes, and these: int16,
interleaved. An error is one line, and the exit status 1. A stream that hangs hangs here alone; whoever waits for it
ends the process.
"""

import json
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

HEAD = struct.Struct("<qI")  # samples lost before a frame, bytes of it
PROTOCOLS = {  # that a source may lead to: a playlist of a stranger's must not name a file of ours
    "rtsp": "rtsp,rtp,srtp,udp,tcp,tls",
    "rtsps": "rtsp,rtsps,rtp,srtp,udp,tcp,tls",
    "http": "http,https,tcp,tls,httpproxy,crypto",
    "https": "http,https,tcp,tls,httpproxy,crypto",
    "": "file",
}
TIMEOUTS = (10.0, 10.0)  # s to open, and for a read; those that FFmpeg does not keep the watchdog does
TIME_JITTER = 0.02  # s that times of frames may be off without a loss


def decode(name: str) -> Iterator[tuple[int, np.ndarray] | dict[str, Any]]:
    """Yield rate, channels and whether the source ends, and then for each frame the samples lost before it, and it."""
    import av

    scheme = name.partition("://")[0].lower() if "://" in name else ""
    options = {"protocol_whitelist": PROTOCOLS[scheme]}
    if scheme.startswith("rtsp"):
        options |= {"rtsp_transport": "tcp", "allowed_media_types": "audio"}
    with av.open(name, options=options, timeout=TIMEOUTS) as container:
        if not container.streams.audio:
            raise ValueError("it has no sound")
        stream = container.streams.audio[0]
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        yield {"rate": rate, "channels": channels, "ends": container.duration is not None}
        resampler = av.AudioResampler(format="s16", layout=stream.codec_context.layout, rate=rate)
        expected: int | None = None
        for decoded in container.decode(stream):
            for frame in resampler.resample(decoded):
                samples = frame.to_ndarray().reshape(-1, channels)
                lost = 0
                if frame.pts is not None and frame.time_base is not None:
                    at = round(frame.pts * frame.time_base * rate)
                    if expected is not None and at - expected > TIME_JITTER * rate:
                        lost = at - expected
                    expected = at + len(samples)  # of this frame alone: that of the first one may be off
                yield lost, samples


def decode_named() -> None:
    """Decode the source whose name is on the standard input."""
    out = sys.stdout.buffer
    try:
        import av  # noqa: F401  # takes seconds on a small computer, and no patience with the source

        out.write(b"\n")
        out.flush()
        name = sys.stdin.readline().rstrip("\n")
        for found in decode(name):
            if isinstance(found, dict):
                out.write(json.dumps(found).encode() + b"\n")
            else:
                lost, samples = found
                content = np.ascontiguousarray(samples, "<i2").tobytes()
                out.write(HEAD.pack(lost, len(content)) + content)
            out.flush()
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}".splitlines()[0])


if __name__ == "__main__":
    decode_named()
