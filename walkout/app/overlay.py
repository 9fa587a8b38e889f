"""``walkout vision overlay``: what the cameras and fusion made of a recording, to be looked at.

First everything is looked at once and kept as records; then, for the moments asked for, pictures are read again and
drawn on. A sheet (PNG, JPEG) shows some moments, one row each; a film (MP4, H.264) shows them all.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from walkout.app.calibrate import opencv
from walkout.app.drawing import Look, draw_camera
from walkout.app.floor_map import draw_floor
from walkout.app.nanostore import nanostore_records
from walkout.app.nanostore_lines import PLATE_FILE
from walkout.app.palette import BACKGROUND, FAINT, INK, REACHED, Image, Trails, put_text, short_name
from walkout.app.source import Source, open_source
from walkout.app.video import NAMELESS, open_pose_model, recording_epoch_ns, video_files
from walkout.bus.recording import Sensed
from walkout.bus.topics import event_time_ns
from walkout.domain.clock import NS_PER_S, to_ns
from walkout.domain.sensing import BodyFrame, CameraDetections, PlateId
from walkout.errors import CaptureError, RecordingError, WalkoutError
from walkout.settings import Settings
from walkout.store.calibration import CameraModel
from walkout.store.layout import Layout
from walkout.store.nanostore import existing, find_store_files, with_cameras
from walkout.vision.capture import read_frames
from walkout.vision.clips import write_whole
from walkout.vision.detector import Detector
from walkout.vision.h264 import EncodedPicture, H264Encoder, Track, mp4_bytes
from walkout.vision.people import PeopleTracker

Say = Callable[[str], None]

SHEETS, FILMS = (".png", ".jpg", ".jpeg"), (".mp4",)
#: Rows of a sheet, where nobody names moments.
ROWS = 6
#: A weight event is shown this long before and after its step, seconds.
SHOWN_S = 1.5
#: A camera whose newest picture is older than this shows none, seconds.
STALE_S = 1.0
#: A film is put together in memory: as long as the longest evidence clip.
LONGEST_FILM_S = 600.0
#: Sheets are at most this wide, in pixels; films are as a full HD screen.
_SHEET_PX, _FILM_PX = 2560, 1920
_BAR_PX, _GAP_PX = 34, 6
_TELL_S = 5


@dataclass(frozen=True, slots=True)
class Moment:
    """Everybody at ``frame.t_ns``, and each camera's newest detections until then."""

    frame: BodyFrame
    seen: dict[str, CameraDetections]


@dataclass(frozen=True, slots=True)
class Happening:
    """What fusion made of a weight event: in words, by whom, and which plates moved."""

    t_ns: int
    words: str
    plates: tuple[PlateId, ...]
    items: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A recording after everything was looked at. ``receipts`` are lines for people."""

    name: str
    start_ns: int
    layout: Layout
    cameras: dict[str, CameraModel]
    videos: dict[str, Path]
    moments: tuple[Moment, ...]
    happenings: tuple[Happening, ...] = ()
    receipts: tuple[str, ...] = ()


def overlay(
    folder: Path,
    out: Path,
    settings: Settings,
    say: Say,
    *,
    at_s: Sequence[float] = (),
    look: Look | None = None,
    store: Path | None = None,
) -> Path:
    """Look at the recording in ``folder`` and draw it to ``out``; the ending says what. ``at_s``: rows of a sheet.

    Raises ``RecordingError`` where there are no videos or calibrations, or ``out`` has another ending.
    """
    if out.suffix.lower() not in SHEETS + FILMS:
        raise RecordingError(f"{out}: write a sheet (.png, .jpg) or a film (.mp4)")
    seen = look_at(folder, settings, say, store)
    seen = with_story(seen, folder, settings, say, store)
    look = look or Look()
    if out.suffix.lower() in FILMS:
        write_whole(out, film(seen, look, say))
        return out
    sheet = contact_sheet(seen, chosen(seen, at_s), look)
    done, data = opencv().imencode(out.suffix.lower(), sheet)
    if not done:
        raise RecordingError(f"{out}: the picture cannot be encoded; choose fewer moments by --at")
    write_whole(out, data.tobytes())
    return out


# -- looking ---------------------------------------------------------------------------------------------------------


def look_at(folder: Path, settings: Settings, say: Say, store: Path | None = None) -> Seen:
    """Every picture of every calibrated camera through the pose model and the people tracker."""
    videos = video_files(folder) if folder.is_dir() else {}
    if not videos:
        raise RecordingError(f"{folder}: no videos cam*.mp4 in it; give the folder of a recording that has some")
    source = open_source(folder, store)
    start_ns = _start_ns(folder, source)
    day = datetime.fromtimestamp(start_ns / NS_PER_S, UTC).date()
    cameras = dict(with_cameras(source.store, find_store_files(folder, store), day).cameras)
    used = {name: path for name, path in videos.items() if name in cameras and _can_be_read(path, say)}
    if not used:
        raise RecordingError(
            f"{folder}: not one of its videos has a calibrated camera; name a store that has (--store)"
        )
    for name in sorted(set(videos) - set(cameras)):
        say(f"{videos[name].name}: camera {name} has no calibration; left out")
    detector = open_pose_model(folder, settings.models_dir)
    models = {name: cameras[name] for name in used}
    moments = tuple(watch(models, used, source.store.layout, detector, start_ns, say))
    return Seen(folder.resolve().name, start_ns, source.store.layout, models, used, moments)


def watch(
    cameras: dict[str, CameraModel],
    videos: dict[str, Path],
    layout: Layout,
    detector: Detector,
    start_ns: int,
    say: Say,
) -> Iterator[Moment]:
    """The moments of several videos that began together at ``start_ns``."""
    tracker = PeopleTracker(cameras, layout)
    waiting: dict[str, list[CameraDetections]] = {name: [] for name in cameras}
    newest: dict[str, CameraDetections] = {}

    def told(until_ns: int) -> Iterator[Moment]:
        for frame in tracker.advance(until_ns):
            for name, queue in waiting.items():
                while queue and queue[0].t_ns <= frame.t_ns:
                    newest[name] = queue.pop(0)
            recent = {name: one for name, one in newest.items() if frame.t_ns - one.t_ns <= STALE_S * NS_PER_S}
            bodies = tuple(replace(body, track_id=NAMELESS + body.track_id) for body in frame.bodies)
            yield Moment(BodyFrame(frame.t_ns, bodies), recent)

    told_s = 0
    for picture in read_frames(videos, start_ns):
        height, width = picture.image.shape[:2]
        found = detector.detect([picture.image])[0]
        one = CameraDetections(picture.camera_id, picture.t_ns, (width, height), found)
        tracker.feed(one)
        waiting[picture.camera_id].append(one)
        yield from told(picture.t_ns)
        if (picture.t_ns - start_ns) // NS_PER_S >= told_s + _TELL_S:
            told_s += _TELL_S
            say(f"looked at {told_s} s of {len(cameras)} videos")
    yield from told(2**62)


def _can_be_read(path: Path, say: Say) -> bool:
    try:
        next(iter(read_frames({"": path}, 0)))
    except (CaptureError, StopIteration) as error:
        say(f"{path.name}: left out; {error or 'not one picture in it'}")
        return False
    return True


def _start_ns(folder: Path, source: Source) -> int:
    return recording_epoch_ns(folder, lambda: next(map(event_time_ns, _plates(folder, source.store.layout)), None))


def _plates(folder: Path, layout: Layout) -> Iterator[Sensed]:
    return iter(()) if existing(folder / PLATE_FILE) is None else nanostore_records(folder, layout)


def with_story(seen: Seen, folder: Path, settings: Settings, say: Say, store: Path | None = None) -> Seen:
    """What fusion and billing make of these people and the recording's plates; nothing without plates."""
    from walkout.app.build import in_process_billing
    from walkout.app.pipeline import run_in_process

    if existing(folder / PLATE_FILE) is None:
        return seen
    bodies = [moment.frame for moment in seen.moments]
    plain = open_source(folder, store).store
    source = Source(folder, plain, lambda: heapq.merge(_plates(folder, plain.layout), iter(bodies), key=event_time_ns))
    try:
        with in_process_billing(settings) as client:
            outcome = run_in_process(source, client)
    except WalkoutError as error:
        say(f"no story is told: {error}")
        return seen
    tracks = {visit.visit_id: visit.track_id for visit in outcome.visits}
    plates = {event.event_id: event.plates for event in outcome.weight_events}
    steps = {event.event_id: event.step_ns for event in outcome.weight_events}

    def product(barcode: str) -> str:
        known = plain.products.get(barcode)
        return known.name if known is not None and known.name.isascii() and known.name else barcode

    happenings = [
        Happening(
            steps.get(one.weight_event_id, one.t_ns),
            f"{_person(tracks.get(one.visit_id))}: {str(one.kind).replace('_', ' ')} of {abs(one.quantity)} x "
            f"{product(one.barcode)}",
            plates.get(one.weight_event_id, ()),
            ((product(one.barcode), one.quantity),),
        )
        for one in outcome.basket_events
    ]
    receipts = [
        f"receipt of {_person(tracks.get(receipt.visit.visit_id))}: "
        + (
            ", ".join(f"{line.quantity} x {product(line.barcode)} ({line.barcode})" for line in receipt.lines)
            or "nothing"
        )
        + f"  |  {receipt.total}, {receipt.visit.status}"
        for receipt in outcome.receipts
    ]
    return replace(seen, happenings=tuple(sorted(happenings, key=lambda one: one.t_ns)), receipts=tuple(receipts))


def _person(track_id: str | None) -> str:
    return "somebody" if track_id is None else f"person {short_name(track_id)}"


# -- choosing --------------------------------------------------------------------------------------------------------


def chosen(seen: Seen, at_s: Sequence[float] = ()) -> list[Moment]:
    """The rows of a sheet: the moments nearest to ``at_s``, seconds from the beginning, else those that tell most.

    Those are the weight events (without any, the reaches over shelves), the first and the last sight of people, a
    moment in which there were people in the pictures but none in the shop, and some between to fill the rows.
    """
    if not seen.moments:
        return []
    times = np.array([moment.frame.t_ns for moment in seen.moments])
    if at_s:
        return [_nearest(seen, times, seen.start_ns + to_ns(second)) for second in sorted(at_s)]
    peopled = [moment.frame.t_ns for moment in seen.moments if moment.frame.bodies]
    wanted = ([one.t_ns for one in seen.happenings] or _reaches(seen))[: ROWS - 3]
    wanted += [peopled[0] + NS_PER_S, peopled[-1], *_outsiders(seen)] if peopled else []
    span = peopled or [int(times[0]), int(times[-1])]
    wanted += [round(span[0] + share * (span[-1] - span[0])) for share in (0.5, 0.25, 0.75, 0.125, 0.375, 0.625)]
    picked: dict[int, Moment] = {}
    for t_ns in wanted:
        moment = _nearest(seen, times, t_ns)
        if len(picked) < ROWS and all(abs(moment.frame.t_ns - other) >= NS_PER_S for other in picked):
            picked[moment.frame.t_ns] = moment
    return [picked[t_ns] for t_ns in sorted(picked)]


def _outsiders(seen: Seen) -> list[int]:
    """When the pictures showed most people though nobody was in the shop: passers-by and mirror images."""
    empty = [moment for moment in seen.moments if not moment.frame.bodies]
    count = [sum(one.score for view in moment.seen.values() for one in view.detections) for moment in empty]
    return [empty[int(np.argmax(count))].frame.t_ns] if count and max(count) > 0.0 else []


def _nearest(seen: Seen, times: np.ndarray[tuple[int], np.dtype[np.int64]], t_ns: int) -> Moment:
    return seen.moments[int(np.argmin(np.abs(times - t_ns)))]


def _reaches(seen: Seen) -> list[int]:
    """The middle of each stretch in which a hand was over a shelf."""
    stretches: list[list[int]] = []
    for moment in seen.moments:
        t_ns = moment.frame.t_ns
        if any(shelf is not None for body in moment.frame.bodies for shelf in body.over):
            if stretches and t_ns - stretches[-1][1] <= NS_PER_S:
                stretches[-1][1] = t_ns
            else:
                stretches.append([t_ns, t_ns])
    longest = sorted(stretches, key=lambda one: one[0] - one[1])[:ROWS]
    return sorted((first + last) // 2 for first, last in longest)


# -- drawing ---------------------------------------------------------------------------------------------------------


def contact_sheet(seen: Seen, moments: Sequence[Moment], look: Look) -> Image:
    """One row per moment: every camera, then the floor; receipts at the foot."""
    columns = min(len(seen.cameras) + 1, 4)
    tile = _tile_px(seen, columns, _SHEET_PX)
    trails = _all_trails(seen)
    width = columns * tile[0] + (columns - 1) * _GAP_PX
    begun = datetime.fromtimestamp(seen.start_ns / NS_PER_S, UTC)
    rows = [_bar(width, f"{seen.name}, {begun:%Y-%m-%d %H:%M:%S} UTC", "", 20)]
    for moment, pictures in with_pictures(seen, moments):
        rows.append(_bar(width, _clock(seen, moment), _caption(seen, moment), 16))
        rows.append(_grid(_tiles(seen, moment, pictures, trails, tile, look), columns))
    rows += [_bar(width, line, "", 16) for line in seen.receipts]
    rows.append(_bar(width, "", "ring: where all cameras together see somebody stand   yellow: hand over a shelf   "
                     "red: plates that moved   grey box: seen, but not on the shop's floor", 13))  # fmt: skip
    return np.vstack(rows)


def film(seen: Seen, look: Look, say: Say) -> bytes:
    """All moments as an MP4; a frame's time is its moment's, counted from the first."""
    columns = math.ceil(math.sqrt(len(seen.cameras) + 1))
    tile = _tile_px(seen, columns, _FILM_PX)
    limit_ns = seen.start_ns + to_ns(LONGEST_FILM_S)
    moments = [moment for moment in seen.moments if moment.frame.t_ns <= limit_ns]
    if not moments:
        raise RecordingError(f"{seen.name}: not one moment was seen; is the video empty?")
    if len(moments) < len(seen.moments):
        say(f"the film ends after {LONGEST_FILM_S:g} s")
    trails, encoder, encoded = _all_trails(seen), H264Encoder(quality=24), list[EncodedPicture]()
    for moment, pictures in with_pictures(seen, moments):
        grid = _grid(_tiles(seen, moment, pictures, trails, tile, look), columns)
        bars = [_bar(grid.shape[1], _clock(seen, moment), _caption(seen, moment), 16)]
        bars.append(_bar(grid.shape[1], "basket: " + (_basket(seen, moment) or "empty"), "", 14))
        encoded += encoder.encode(moment.frame.t_ns, _even(np.vstack([bars[0], grid, bars[1]])))
    return mp4_bytes([Track("overlay", tuple(encoded))], encoded[0].t_ns, f"walkout overlay of {seen.name}")


def with_pictures(seen: Seen, moments: Sequence[Moment]) -> Iterator[tuple[Moment, dict[str, Image]]]:
    """Moments in order of time, each with the pictures that its detections were made from."""
    stream = read_frames(seen.videos, seen.start_ns)
    ahead = next(stream, None)
    newest: dict[str, tuple[int, Image]] = {}
    for moment in moments:
        while ahead is not None and ahead.t_ns <= moment.frame.t_ns:
            newest[ahead.camera_id] = (ahead.t_ns, ahead.image)
            ahead = next(stream, None)
        shown = {name: one.t_ns for name, one in moment.seen.items()}
        yield moment, {name: image for name, (t_ns, image) in newest.items() if shown.get(name) == t_ns}


def _tiles(
    seen: Seen, moment: Moment, pictures: dict[str, Image], trails: Trails, tile: tuple[int, int], look: Look
) -> list[Image]:
    near = [one for one in seen.happenings if abs(one.t_ns - moment.frame.t_ns) <= SHOWN_S * NS_PER_S]
    moved = [plate for one in near for plate in one.plates]
    drawn = [
        draw_camera(
            tile, model, pictures.get(name), moment.seen.get(name), moment.frame, seen.layout, trails, moved, look
        )
        for name, model in seen.cameras.items()
    ]
    return [*drawn, draw_floor(tile, seen.layout, seen.cameras, moment.frame, trails, moved)]


def _all_trails(seen: Seen) -> Trails:
    trails = Trails()
    for moment in seen.moments:
        trails.add(moment.frame)
    return trails


def _tile_px(seen: Seen, columns: int, most_px: int) -> tuple[int, int]:
    """As large as the smallest camera's pictures, smaller where the whole would be too wide; even sides."""
    width, height = min(model.size_px for model in seen.cameras.values())
    sizes = [one.size_px for moment in seen.moments[:1] for one in moment.seen.values()]
    width, height = min([(width, height), *sizes]) if sizes else (width, height)
    ratio = min(1.0, (most_px - (columns - 1) * _GAP_PX) / (columns * width))
    return int(width * ratio) // 2 * 2, int(height * ratio) // 2 * 2


def _grid(tiles: Sequence[Image], columns: int) -> Image:
    """Tiles side by side in rows; what is left over stays dark."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    shape = (rows * height + rows * _GAP_PX, columns * width + (columns - 1) * _GAP_PX, 3)
    grid = np.full(shape, BACKGROUND, np.uint8)
    for index, tile in enumerate(tiles):
        y, x = index // columns * (height + _GAP_PX), index % columns * (width + _GAP_PX)
        grid[y : y + height, x : x + width] = tile
    return grid


def _bar(width: int, text: str, more: str, size: int) -> Image:
    bar = np.full((_BAR_PX, width, 3), BACKGROUND, np.uint8)
    taken, _ = put_text(bar, text, (10, 6), size, INK, bold=size > 16) if text else (0, 0)
    if more:
        put_text(bar, more, (24 + taken, 6), size, FAINT if size < 16 else REACHED)
    return bar


def _clock(seen: Seen, moment: Moment) -> str:
    return f"{(moment.frame.t_ns - seen.start_ns) / NS_PER_S:.1f} s"


def _caption(seen: Seen, moment: Moment) -> str:
    near = [one for one in seen.happenings if abs(one.t_ns - moment.frame.t_ns) <= SHOWN_S * NS_PER_S]
    if near:
        return ";  ".join(dict.fromkeys(one.words for one in near))
    reaches = [
        f"{_person(body.track_id)} reaches over shelf {shelf}"
        for body in moment.frame.bodies
        for shelf in dict.fromkeys(body.over)
        if shelf is not None
    ]
    people = len(moment.frame.bodies)
    return ";  ".join(reaches) or f"{people or 'nobody'} in the shop"


def _basket(seen: Seen, moment: Moment) -> str:
    held: dict[str, int] = {}
    for one in seen.happenings:
        if one.t_ns <= moment.frame.t_ns:
            for name, quantity in one.items:
                held[name] = held.get(name, 0) + quantity
    return ", ".join(f"{quantity} x {name}" for name, quantity in held.items() if quantity)


def _even(image: Image) -> Image:
    return image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
