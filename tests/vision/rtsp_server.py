"""A test double of an IP camera: a small RTSP server (RFC 2326) that sends H.264 (RFC 6184) interleaved over TCP.

It sends RTCP sender reports (RFC 3550) and can be made to go away, fall silent with its socket open, change the size
of its pictures and have a wrong clock. Each picture shows its own number, so that a test knows when it was taken.
"""

import base64
import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from functools import cache
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from walkout.vision.h264 import EncodedPicture, H264Encoder, units

FPS = 20
#: Pictures in the loop that it shows; the number on a picture counts modulo this.
LOOP = 80
#: Largest payload of one RTP packet, below the usual MTU.
MTU = 1400
#: Seconds between 1900-01-01, where NTP counts from, and 1970-01-01 (RFC 868).
NTP_S = 2_208_988_800
#: The stream's clock starts here, so that its 32 bits overflow after one second (RTP timestamps begin at random).
RTP_START = 2**32 - 90_000
BITS = 8


def numbered(number: int, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture whose eight vertical bars are the bits of ``number``."""
    width, height = size_px
    image = np.full((height, width, 3), 30, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            image[:, bit * width // BITS : (bit + 1) * width // BITS] = 220
    return image


def number_on(image: NDArray[np.uint8]) -> int:
    """The number that ``numbered`` drew."""
    height, width = image.shape[:2]
    bars = [image[height // 2, (2 * bit + 1) * width // (2 * BITS), 1] > 125 for bit in range(BITS)]
    return sum(1 << bit for bit, lit in enumerate(bars) if lit)


@cache
def encoded_loop(size_px: tuple[int, int]) -> tuple[EncodedPicture, ...]:
    """Pictures 0 to LOOP - 1, a key picture every half second."""
    encoder = H264Encoder(FPS, key_every_s=0.5)
    step_ns = round(1e9 / FPS)
    return tuple(p for n in range(LOOP) for p in encoder.encode(n * step_ns, numbered(n, size_px)))


class RtspServer:
    """One camera at ``url``. ``start`` and ``stop`` plug and unplug it on the same port."""

    def __init__(
        self, size_px: tuple[int, int] = (160, 96), *, reports: bool = True, clock_wrong_s: float = 0.0
    ) -> None:
        self.size_px, self.reports, self.clock_wrong_s = size_px, reports, clock_wrong_s
        self.silent = threading.Event()
        self.visits = 0
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"rtsp://viewer:secret@127.0.0.1:{self.port}/stream"
        self.epoch_ns = time.time_ns()

    def __enter__(self) -> "RtspServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Plug it in."""
        self._stop = threading.Event()
        listener = socket.create_server(("127.0.0.1", self.port))
        self._sockets = {listener}
        self._threads = [threading.Thread(target=self._listen, args=(listener, self._stop), daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        """Unplug it: the port refuses, connections break."""
        self._stop.set()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)

    def taken_ns(self, number: int) -> int:
        """When picture ``number`` (counted from ``epoch_ns``, without the loop) was taken."""
        return self.epoch_ns + round(number * 1e9 / FPS)

    def _listen(self, listener: socket.socket, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.visits += 1
            self._sockets.add(client)
            thread = threading.Thread(target=self._serve, args=(client, stop), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, stop: threading.Event) -> None:
        try:
            playing = False
            buffer = b""
            while not playing and not stop.is_set():
                buffer += client.recv(4096) or self._hung_up()
                while b"\r\n\r\n" in buffer:
                    request, buffer = buffer.split(b"\r\n\r\n", 1)
                    playing = self._answer(client, request.decode()) or playing
            self._play(client, stop)
        except (OSError, EOFError):
            pass
        finally:
            client.close()
            self._sockets.discard(client)

    def _hung_up(self) -> bytes:
        raise EOFError

    def _answer(self, client: socket.socket, request: str) -> bool:
        method, _, rest = request.partition(" ")
        lines = dict(line.split(": ", 1) for line in rest.split("\r\n")[1:] if ": " in line)
        head = [f"RTSP/1.0 200 OK\r\nCSeq: {lines.get('CSeq', '0')}"]
        body = ""
        if method == "OPTIONS":
            head.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        elif method == "DESCRIBE":
            body = self._description()
            head += [f"Content-Base: rtsp://127.0.0.1:{self.port}/stream/", "Content-Type: application/sdp"]
        elif method == "SETUP":
            head += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1;timeout=60"]
        elif method == "PLAY":
            head.append("Session: 1")
        client.sendall(("\r\n".join([*head, f"Content-Length: {len(body)}"]) + "\r\n\r\n" + body).encode())
        return method == "PLAY"

    def _description(self) -> str:
        sets = [unit for kind, unit in units(encoded_loop(self.size_px)[0].data) if kind in {7, 8}]
        told = ",".join(base64.b64encode(unit).decode() for unit in sets)
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
            f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={told}\r\na=control:track1\r\n"
        )

    def _play(self, client: socket.socket, stop: threading.Event) -> None:
        number = (time.time_ns() - self.epoch_ns) * FPS // 1_000_000_000
        sequence, waits_for_key, shown = 0, True, self.size_px
        while not stop.wait(max(self.taken_ns(number) - time.time_ns(), 0) / 1e9):
            if select.select([client], [], [], 0)[0] and not client.recv(4096):
                return
            if shown != self.size_px:
                shown, waits_for_key = self.size_px, True
            picture = encoded_loop(shown)[number % LOOP]
            if not self.silent.is_set():
                if self.reports and number % FPS == 0:
                    client.sendall(self._report(number))
                waits_for_key = waits_for_key and not picture.key
                if not waits_for_key:
                    for packet in rtp_packets(picture.data, rtp_time(number), sequence):
                        client.sendall(packet)
                        sequence += 1
            number += 1

    def _report(self, number: int) -> bytes:
        seconds = self.taken_ns(number) / 1e9 + self.clock_wrong_s + NTP_S
        whole, part = int(seconds), int((seconds % 1) * 2**32)
        body = struct.pack(">BBHIIIIII", 0x80, 200, 6, 1, whole, part, rtp_time(number), 0, 0)
        return struct.pack(">cBH", b"$", 1, len(body)) + body


def rtp_time(number: int) -> int:
    """The stream's own time of a picture."""
    return (RTP_START + number * 90_000 // FPS) % 2**32


def rtp_packets(data: bytes, timestamp: int, sequence: int) -> Iterator[bytes]:
    """One picture as interleaved RTP packets; units above the MTU are split (FU-A, RFC 6184 section 5.8)."""
    payloads = []
    for _, unit in units(data):
        if len(unit) <= MTU:
            payloads.append(unit)
            continue
        indicator, kind = unit[0] & 0xE0 | 28, unit[0] & 31
        parts = [unit[at : at + MTU] for at in range(1, len(unit), MTU)]
        for n, part in enumerate(parts):
            flags = (0x80 if n == 0 else 0) | (0x40 if n == len(parts) - 1 else 0)
            payloads.append(bytes([indicator, flags | kind]) + part)
    for n, payload in enumerate(payloads):
        marker = 0x80 if n == len(payloads) - 1 else 0
        header = struct.pack(">BBHII", 0x80, 96 | marker, (sequence + n) % 2**16, timestamp, 1)
        yield struct.pack(">cBH", b"$", 0, len(header) + len(payload)) + header + payload
