"""Servers of sound on this computer: HTTP that may stop in the middle, and RTSP that may lose packets."""

import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np

PACKET = 160  # samples of a packet of RTP


@contextmanager
def listening(serve):
    """A server that calls `serve(connection, number)` for each connection in a thread; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        count = 0

        def accept():
            nonlocal count
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                count += 1
                threading.Thread(target=guarded, args=(connection, count), daemon=True).start()

        def guarded(connection, number):
            with connection, suppress(OSError):
                serve(connection, number)

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]


@contextmanager
def over_http(content: bytes, hang_after: int | None = None):
    """Serve bytes at any address; the first connection hangs after so many of them. Yields the address."""

    def serve(connection, number):
        connection.recv(65536)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode())
        if hang_after is not None and number == 1:
            connection.sendall(content[:hang_after])
            time.sleep(30)
        else:
            connection.sendall(content)

    with listening(serve) as port:
        yield f"http://127.0.0.1:{port}/sound.wav"


@contextmanager
def over_rtsp(samples: np.ndarray, rate: int, lost=()):
    """Serve int16 [T] as a camera does: RTP packets of 16-bit sound, of which some (numbers) are not sent."""

    def serve(connection, _):
        file = connection.makefile("rb")
        while request := file.readline().decode():
            method, *_ = request.split()
            headers = {}
            while (line := file.readline().decode().strip()) != "":
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            more, body = "", ""
            if method == "DESCRIBE":
                body = (
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
                    f"m=audio 0 RTP/AVP 97\r\na=rtpmap:97 L16/{rate}/1\r\na=control:audio\r\n"
                )
                more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            if method == "SETUP":
                more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
            if method == "OPTIONS":
                more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            connection.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\n{more}\r\n{body}".encode())
            if method == "PLAY":
                break
        for number in range(len(samples) // PACKET):
            if number in lost:
                continue
            sound = samples[number * PACKET : (number + 1) * PACKET].astype(">i2").tobytes()
            head = struct.pack(">BBHII", 0x80, 97, number & 0xFFFF, number * PACKET, 1)
            connection.sendall(struct.pack(">cBH", b"$", 0, len(head) + len(sound)) + head + sound)
            time.sleep(PACKET / rate / 20)

    with listening(serve) as port:
        yield f"rtsp://127.0.0.1:{port}/audio"
