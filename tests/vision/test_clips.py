"""Rolling segments, what survives a crash or a full disk, and clips with their capture times."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from walkout.domain.clock import SystemClock
from walkout.domain.sensing import Frame, Gap
from walkout.errors import ClipError
from walkout.vision.capture import open_camera
from walkout.vision.clips import ClipRecorder, ClipSettings, cut, read_clip, read_note, segments, write_whole
from walkout.vision.h264 import EncodedPicture, H264Encoder, Track, mp4_bytes, parameter_sets, read_mp4
from walkout.vision.sources import CaptureSettings

sys.path.insert(0, str(Path(__file__).parent))
from rtsp_server import RtspServer, number_on, numbered

START_NS = 1_580_250_244_200_000_000
STEP_NS = 100_000_000
SIZE = (160, 96)
#: One second a segment, and no thought for the rest of the machine.
SETTINGS = ClipSettings(segment_s=1.0, keep_free_bytes=0)


def at(seconds: float) -> int:
    return START_NS + round(seconds * 1e9)


def pictures(numbers: Sequence[int], size_px: tuple[int, int] = SIZE) -> list[EncodedPicture]:
    """Numbered pictures, number n taken n tenths of a second after the start; a key picture every half second."""
    encoder = H264Encoder(10, key_every_s=0.5)
    return [p for n in numbers for p in encoder.encode(START_NS + n * STEP_NS, numbered(n, size_px))]


def record(recorder: ClipRecorder, camera_id: str, numbers: Sequence[int], size_px: tuple[int, int] = SIZE) -> None:
    for picture in pictures(numbers, size_px):
        recorder.put(camera_id, picture)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[ClipRecorder]:
    running = ClipRecorder(tmp_path / "footage", SETTINGS)
    yield running
    running.close()


def shown(path: Path) -> list[tuple[str, float, int]]:
    """Camera, seconds after the start and number of each picture in a clip."""
    return [(f.camera_id, (f.t_ns - START_NS) / 1e9, number_on(f.image)) for f in read_clip(path)]


def test_a_clip_shows_the_pictures_of_its_time_with_their_capture_times(recorder: ClipRecorder) -> None:
    record(recorder, "cam1", range(60))
    clip = recorder.clip(at(2.3), at(4.0), ["cam1"])
    # It begins at the key picture before: at 2.0 s.
    assert shown(clip) == [("cam1", n / 10, n) for n in range(20, 41)]
    note = read_note(clip)
    assert (note.start_ns, note.t0_ns, note.t1_ns, note.gaps) == (at(2.0), at(2.3), at(4.0), ())


def test_uneven_capture_times_are_kept_to_the_microsecond(tmp_path: Path) -> None:
    times = [START_NS + n * STEP_NS + (n * 7919) % 40_000_000 for n in range(30)]
    encoder = H264Encoder(10)
    encoded = [p for n, t_ns in enumerate(times) for p in encoder.encode(t_ns, numbered(n, SIZE))]
    recorder = ClipRecorder(tmp_path, SETTINGS)
    for picture in encoded:
        recorder.put("cam1", picture)
    recorder.close()
    clip = cut(tmp_path, START_NS, times[-1], ["cam1"], tmp_path / "out.mp4")
    assert [frame.t_ns for frame in read_clip(clip)] == [t_ns // 1000 * 1000 for t_ns in times]


def test_a_clip_of_what_just_happened_includes_what_is_not_on_disk_yet(recorder: ClipRecorder, tmp_path: Path) -> None:
    record(recorder, "cam1", range(7))
    assert segments(tmp_path / "footage", "cam1") == []
    assert [number for _, _, number in shown(recorder.clip(at(0), at(1), ["cam1"]))] == list(range(7))


def test_pictures_are_copied_not_encoded_again(recorder: ClipRecorder) -> None:
    sent = pictures(range(10))
    for picture in sent:
        recorder.put("cam1", picture)
    copied = read_mp4(recorder.clip(at(0), at(0.9), ["cam1"]), START_NS)
    assert [picture.t_ns for picture in copied] == [picture.t_ns for picture in sent]
    slices = [picture.data[-40:] for picture in copied]
    assert slices == [picture.data[-40:] for picture in sent]


def test_a_clip_of_several_cameras_has_a_track_for_each_on_one_time(recorder: ClipRecorder) -> None:
    record(recorder, "cam1", range(20))
    record(recorder, "cam3", range(8, 30))
    clip = recorder.clip(at(0.5), at(1.5), ["cam3", "cam1"])
    assert shown(clip) == [("cam3", n / 10, n) for n in range(8, 16)] + [("cam1", n / 10, n) for n in range(5, 16)]


def test_a_hole_in_the_footage_is_told_in_the_clip(recorder: ClipRecorder) -> None:
    record(recorder, "cam1", range(20))
    record(recorder, "cam1", range(50, 80))
    clip = recorder.clip(at(0.0), at(9.0), ["cam1", "cam9"])
    assert [number for _, _, number in shown(clip)] == [*range(20), *range(50, 80)]
    why = "no picture was kept"
    assert read_note(clip).gaps == (
        Gap("cam1", at(1.9), at(5.0), why),
        Gap("cam1", at(7.9), at(9.0), why),
        Gap("cam9", at(0.0), at(9.0), why),
    )


def test_a_time_without_footage_is_refused_with_what_there_is(recorder: ClipRecorder) -> None:
    record(recorder, "cam1", range(25))
    recorder.flush()
    with pytest.raises(ClipError, match=rf"kept is {at(0)} to {at(2.4)}"):
        recorder.clip(at(10), at(12), ["cam1"])
    with pytest.raises(ClipError, match="nothing of them is kept"):
        recorder.clip(at(0), at(1), ["cam9"])


@pytest.mark.parametrize(("t0_s", "t1_s"), [(2, 1), (1, 1), (0, 601)])
def test_a_clip_of_no_or_endless_time_is_refused(recorder: ClipRecorder, t0_s: float, t1_s: float) -> None:
    with pytest.raises(ClipError, match="at most 600"):
        recorder.clip(at(t0_s), at(t1_s), ["cam1"])


def test_a_changed_picture_size_begins_a_segment_and_a_track(recorder: ClipRecorder, tmp_path: Path) -> None:
    record(recorder, "cam1", range(5))
    record(recorder, "cam1", range(5, 10), (320, 192))
    frames = list(read_clip(recorder.clip(at(0), at(1), ["cam1"])))
    assert [frame.image.shape[0] for frame in frames] == [96] * 5 + [192] * 5
    assert [number_on(frame.image) for frame in frames] == list(range(10))
    recorder.flush()
    assert len(segments(tmp_path / "footage", "cam1")) == 2


def test_an_overlay_is_drawn_on_every_picture_and_the_clip_begins_on_time(recorder: ClipRecorder) -> None:
    record(recorder, "cam1", range(30))
    asked: list[int] = []

    def mark(frame: Frame) -> NDArray[np.uint8]:
        asked.append(frame.t_ns)
        image = frame.image.copy()
        image[:20] = 255
        return image

    frames = list(read_clip(recorder.clip(at(1.2), at(2.0), ["cam1"], mark)))
    assert [frame.t_ns for frame in frames] == asked == [at(n / 10) for n in range(12, 21)]
    assert [number_on(frame.image) for frame in frames] == list(range(12, 21))
    assert all(frame.image[:12].min() > 200 for frame in frames)


def test_the_oldest_footage_goes_when_the_bound_is_reached(tmp_path: Path) -> None:
    bound = 40_000
    recorder = ClipRecorder(tmp_path, replace(SETTINGS, most_bytes=bound))
    record(recorder, "cam1", range(250))
    record(recorder, "cam3", range(250, 500))
    recorder.close()
    health = recorder.health()
    on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*.mp4"))
    assert health.bytes_on_disk == on_disk <= bound
    newest = segments(tmp_path, "cam3")[-1]
    assert newest.last_ns == at(49.9)
    assert health.oldest_ns is not None
    assert health.oldest_ns > at(0)
    assert health.well


def test_a_restarted_recorder_knows_what_is_there_and_drops_the_half_written(tmp_path: Path) -> None:
    first = ClipRecorder(tmp_path, SETTINGS)
    record(first, "cam1", range(25))
    first.close()
    half = tmp_path / "cam1" / f"{at(2.5)}-{at(3.4)}.mp4.part"
    half.write_bytes(b"half")
    second = ClipRecorder(tmp_path, SETTINGS)
    assert second.health().segments == len(segments(tmp_path, "cam1")) == 3
    assert not half.exists()
    assert [number for _, _, number in shown(second.clip(at(0), at(2.4), ["cam1"]))] == list(range(25))
    second.close()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_clips import ClipRecorder, SETTINGS, record
recorder = ClipRecorder(Path({folder!r}), SETTINGS)
for start in range(0, 100000, 10):
    record(recorder, "cam1", range(start, start + 10))
    print(start, flush=True)
"""


def test_a_killed_recorder_leaves_only_whole_segments(tmp_path: Path) -> None:
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while int(child.stdout.readline()) < 100:
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    written = segments(tmp_path, "cam1")
    assert len(written) >= 3
    for segment in written:
        held = read_mp4(segment.path, segment.first_ns)
        assert (held[0].t_ns, held[-1].t_ns) == (segment.first_ns, segment.last_ns)
        assert held[0].key


def test_a_damaged_segment_is_a_gap(recorder: ClipRecorder, tmp_path: Path) -> None:
    record(recorder, "cam1", range(40))
    recorder.flush()
    damaged = segments(tmp_path / "footage", "cam1")[1]
    damaged.path.write_bytes(b"")
    clip = recorder.clip(at(0), at(3.9), ["cam1"])
    assert [number for _, _, number in shown(clip)] == [*range(10), *range(20, 40)]
    assert [(gap.start_ns, gap.end_ns) for gap in read_note(clip).gaps] == [(at(0.9), at(2.0))]


class FullDisk:
    """A disk that is full for as long as it is told to be."""

    full = True

    def __call__(self, path: Path, data: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_whole(path, data)


def test_a_full_disk_is_told_and_recording_goes_on_when_there_is_room(tmp_path: Path) -> None:
    disk = FullDisk()
    recorder = ClipRecorder(tmp_path, SETTINGS, disk)
    record(recorder, "cam1", range(20))
    recorder.flush()
    health = recorder.health()
    assert not health.well
    assert "No space left" in health.message
    assert health.pictures_lost == 20
    disk.full = False
    record(recorder, "cam1", range(20, 40))
    recorder.flush()
    assert recorder.health().well
    clip = recorder.clip(at(0), at(3.9), ["cam1"])
    assert [number for _, _, number in shown(clip)] == list(range(20, 40))
    recorder.close()


def test_a_write_that_the_disk_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    (tmp_path / "clip.mp4.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_whole(out, b"x" * 100_000)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_cannot_be_written_says_so(recorder: ClipRecorder, tmp_path: Path) -> None:
    record(recorder, "cam1", range(10))
    (tmp_path / "taken").write_text("a file where a folder is needed")
    with pytest.raises(ClipError, match="cannot be written"):
        recorder.clip(at(0), at(1), ["cam1"], out=tmp_path / "taken" / "clip.mp4")


def test_a_disk_that_is_too_slow_costs_pictures_not_memory(tmp_path: Path) -> None:
    one_group = sum(len(picture.data) for picture in pictures(range(5)))
    recorder = ClipRecorder(tmp_path, replace(SETTINGS, segment_s=3600.0, most_pending_bytes=4 * one_group))
    record(recorder, "cam1", range(200))
    recorder.close()
    assert recorder.health().pictures_lost > 0
    kept = [p for s in segments(tmp_path, "cam1") for p in read_mp4(s.path, s.first_ns)]
    assert len(kept) + recorder.health().pictures_lost == 200
    assert all(read_mp4(s.path, s.first_ns)[0].key for s in segments(tmp_path, "cam1"))


@pytest.mark.parametrize("camera_id", ["../outside", "..", "clips", "a/b", "Tür 1", "."])
def test_a_cameras_name_never_leads_out_of_the_folder(tmp_path: Path, camera_id: str) -> None:
    recorder = ClipRecorder(tmp_path / "footage", SETTINGS)
    record(recorder, camera_id, range(10))
    recorder.close()
    (held,) = segments(tmp_path / "footage", camera_id)
    assert held.path.parent.parent == tmp_path / "footage"
    assert [path.name for path in tmp_path.iterdir()] == ["footage"]
    assert ClipRecorder(tmp_path / "footage", SETTINGS).health().segments == 1


def with_later_references(count: int) -> list[EncodedPicture]:
    """As a camera sends them that refers to later pictures (B pictures): order of decoding is not that of time."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = *SIZE, "yuv420p"
    context.time_base, context.framerate, context.thread_count = Fraction(1, 1_000_000), Fraction(10), 1
    context.options = {"preset": "medium", "x264-params": "annexb=1:repeat-headers=1:keyint=10:b-adapt=0:bframes=2"}
    packets = []
    for n in range(count):
        frame = av.VideoFrame.from_ndarray(numbered(n, SIZE), format="bgr24")
        frame.pts, frame.time_base = n * STEP_NS // 1000, Fraction(1, 1_000_000)
        packets += context.encode(frame)
    packets += context.encode(None)
    times = [(START_NS + p.pts * 1000, START_NS + p.dts * 1000) for p in packets]
    return [EncodedPicture(*t, bytes(p), p.is_keyframe) for t, p in zip(times, packets, strict=True)]


def test_pictures_that_refer_to_later_ones_keep_their_times(recorder: ClipRecorder) -> None:
    sent = with_later_references(40)
    assert any(picture.t_ns != picture.decode_ns for picture in sent)
    for picture in sent:
        recorder.put("cam1", picture)
    recorder.flush()
    record(recorder, "cam3", range(5, 40))
    clip = recorder.clip(at(1.5), at(2.45), ["cam3", "cam1"])
    seen = {camera: [(t, number) for c, t, number in shown(clip) if c == camera] for camera in ("cam1", "cam3")}
    first = seen["cam1"][0][1]  # the encoder chose where its key pictures lie
    assert 5 <= first <= 15
    assert seen["cam1"][: 25 - first] == [(n / 10, n) for n in range(first, 25)]
    assert seen["cam3"] == [(n / 10, n) for n in range(15, 25)]


def test_a_key_picture_without_its_parameter_sets_gets_them(tmp_path: Path) -> None:
    # MP4 keeps the sets beside the pictures; what comes out of one must be decodable by itself.
    path = tmp_path / "x.mp4"
    path.write_bytes(mp4_bytes([Track("cam1", tuple(pictures(range(10))))], START_NS, ""))
    assert all(parameter_sets(picture.data) for picture in read_mp4(path, START_NS) if picture.key)


def test_a_file_of_others_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(mp4_bytes([Track("cam1", tuple(pictures(range(3))))], START_NS, "holiday"))
    with pytest.raises(ClipError, match="no clip of ours"):
        read_note(path)


def test_what_an_rtsp_camera_sends_ends_up_in_a_clip_with_its_capture_times(recorder: ClipRecorder) -> None:
    with RtspServer() as server:
        camera = open_camera(server.url, "cam1", SystemClock(), CaptureSettings(stall_s=5.0), on_picture=recorder.put)
        end = time.monotonic() + 60
        while camera.health().pictures < 60:
            assert time.monotonic() < end
            time.sleep(0.1)
        camera.close()
        frames = list(read_clip(recorder.clip(server.taken_ns(0), time.time_ns(), ["cam1"])))[-30:]
        number = round((frames[0].t_ns - server.epoch_ns) / 50e6)
        assert [number_on(frame.image) for frame in frames] == [(number + n) % 80 for n in range(30)]
        wrong = [frame.t_ns - server.taken_ns(number + n) for n, frame in enumerate(frames)]
        assert max(abs(each) for each in wrong) < 100_000
