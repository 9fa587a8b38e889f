"""Frames: records in a file that tells by itself what of it is whole.

A frame is ``sync (4 bytes) | length u32 | event time ns i64 | CRC-32 u32 | payload``, little-endian; the CRC covers
length, time and payload, the payload is what ``bus/codec.py`` makes.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator

_SYNC = b"\xc7WO\xf1"
_HEAD = struct.Struct("<4sIqI")
_CHECKED = struct.Struct("<Iq")
#: A length beyond this is damage: a second of 1000 plates at 1 kHz takes 4 MB.
_MAX_PAYLOAD = 64 * 1024 * 1024

HEAD_SIZE = _HEAD.size
"""Bytes before the payload of a frame."""


def frame(t_ns: int, payload: bytes) -> bytes:
    """The frame around ``payload``."""
    checksum = zlib.crc32(payload, zlib.crc32(_CHECKED.pack(len(payload), t_ns)))
    return _HEAD.pack(_SYNC, len(payload), t_ns, checksum) + payload


def frames(data: bytes | mmap.mmap) -> Iterator[tuple[int, int, int | None]]:
    """(start, end, time) of every frame and, with None for time, of every stretch between that is none."""
    position = bad_from = 0
    while position < len(data):
        found = frame_at(data, position)
        if found is None:
            position = data.find(_SYNC, position + 1)
            if position < 0:
                break
            continue
        if bad_from < position:
            yield bad_from, position, None
        end, t_ns = found
        yield position, end, t_ns
        position = bad_from = end
    if bad_from < len(data):
        yield bad_from, len(data), None


def frame_at(data: bytes | mmap.mmap, position: int) -> tuple[int, int] | None:
    """End and time of the intact frame at ``position``; None where there is none."""
    start = position + _HEAD.size
    if start > len(data):
        return None
    sync, length, t_ns, checksum = _HEAD.unpack_from(data, position)
    end = start + length
    if sync != _SYNC or length > _MAX_PAYLOAD or end > len(data):
        return None
    if zlib.crc32(data[start:end], zlib.crc32(_CHECKED.pack(length, t_ns))) != checksum:
        return None
    return end, t_ns
