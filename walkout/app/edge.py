"""The edge box: cameras in, observations of people out.

::

    camera threads -> newest pictures -> one detection thread -> PeopleTracker -> Spool -> log
         |                                                                       (a thread takes from it)
         +-> H.264 -> ClipRecorder -> disk

One process. A camera that is away is left out and comes back by itself; a log that is away fills the spool. What
nobody can mend here (the net fails, the disk of the spool is gone) ends the process, and its supervisor starts it
again. Pictures never leave the box: the log gets positions and joints, video goes to the clips' folder alone, of
stated size, and only if the configuration names one.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from walkout.app.edge_config import EdgeConfig, needs_calibration, said_of
from walkout.app.spool import Said, Spool, SpoolState
from walkout.bus.log import EventLog, RedisLog
from walkout.domain.clock import NS_PER_S, Clock, SystemClock
from walkout.domain.sensing import BodyFrame, CameraDetections, Frame, Gap, Watermark
from walkout.errors import CodecError, LogError, ModelError, SettingsError, StoreError
from walkout.settings import Settings
from walkout.store.calibration import CameraModel
from walkout.store.layout import Layout
from walkout.vision.capture import CameraHealth, CameraSet, CameraState
from walkout.vision.clips import ClipHealth, ClipRecorder
from walkout.vision.detector import Detector, open_detector
from walkout.vision.models import find_card
from walkout.vision.people import PeopleTracker

log = logging.getLogger(__name__)

#: As the source of watermarks that fusion waits for (``app/pipeline.py``).
MARK_SOURCE = "edge"
#: The source of a gap in which no camera of the box showed anything.
BLIND_SOURCE = "cameras"
#: How often readers are told how far they may go; as in a replay.
MARK_EVERY_NS = NS_PER_S // 2
#: A live camera that is this much behind the others no longer holds them up; its pictures then come too late. Cameras
#: differ by tenths of a second (buffering, B pictures), a receipt can wait for a whole one.
HOLD_NS = NS_PER_S
#: Without a picture of any camera for this long the box is blind and says so. Longer than a camera takes to connect.
BLIND_NS = 5 * NS_PER_S
#: Waits between two attempts at a log that is away double from the first to the last of these, seconds.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0
#: At the end the spool gets this long to empty itself; the rest waits on disk for the next start.
LAST_WORDS_S = 2.0
#: How long one wait for pictures takes at most, so that health and the end of the run are noticed.
TURN_S = 0.25


class ObservationStep:
    """Detections of all cameras -> body frames and watermarks. Pure: it reads no clock and starts nothing.

    ``prefix`` keeps track ids of two runs of the box apart: a tracker numbers its people from 1.
    """

    def __init__(self, tracker: PeopleTracker, prefix: str, start_ns: int) -> None:
        self._tracker, self._prefix = tracker, prefix
        self._moment_ns = round(tracker.settings.moment_s * NS_PER_S)
        self._newest: dict[str, int] = {}
        self._seen_ns = self._marked_ns = start_ns
        self._advanced_ns = start_ns
        self._late = 0

    def see(self, seen: Sequence[CameraDetections], live: Mapping[str, float]) -> list[Said]:
        """What one round of detections adds; ``live``: pictures a second of the cameras from which more is to come."""
        for one in sorted(seen, key=lambda one: (one.t_ns, one.camera_id)):
            self._newest[one.camera_id] = max(one.t_ns, self._newest.get(one.camera_id, one.t_ns))
            if one.t_ns <= self._advanced_ns - self._moment_ns:
                self._late += 1
            else:
                self._tracker.feed(one)
        self._seen_ns = max([self._seen_ns, *self._newest.values()])
        awaited = [self._newest[name] + self._ahead_ns(fps) for name, fps in live.items() if name in self._newest]
        # Each camera's pictures come in order: nothing older than what the slowest sends next is still to come.
        return self._tell(max(min(awaited, default=self._seen_ns), self._seen_ns - HOLD_NS))

    @property
    def late(self) -> int:
        """Pictures that came after their time had been told."""
        return self._late + self._tracker.left_out

    def _ahead_ns(self, fps: float) -> int:
        """How long after its newest picture a camera certainly sends none: half of its interval.

        At most a moment, so that watermarks, which stay a moment behind, hold whatever the camera does.
        """
        return min(self._moment_ns, round(0.5 * NS_PER_S / fps)) if fps > 0.0 else self._moment_ns

    def nothing_seen(self, now_ns: int) -> list[Said]:
        """No camera showed anything: after a while that is a gap, and readers need not wait any longer."""
        dark_ns = now_ns - HOLD_NS
        if dark_ns - max(self._seen_ns, self._marked_ns) < BLIND_NS:
            return []
        told = self._tell(self._seen_ns + self._moment_ns)
        since_ns = max(self._seen_ns, self._marked_ns)
        gap = Gap(BLIND_SOURCE, since_ns, dark_ns, "not one camera showed a picture")
        self._advanced_ns = self._marked_ns = dark_ns
        return [*told, gap, Watermark(MARK_SOURCE, dark_ns)]

    def _tell(self, t_ns: int) -> list[Said]:
        """Everybody up to ``t_ns``, and a watermark when one is due."""
        if t_ns <= self._advanced_ns:
            return []
        self._advanced_ns = t_ns
        said: list[Said] = [self._named(frame) for frame in self._tracker.advance(t_ns)]
        # A moment that has begun is told with the time of its last picture, at most a moment later.
        safe_ns = t_ns - self._moment_ns
        if safe_ns >= self._marked_ns + MARK_EVERY_NS:
            self._marked_ns = safe_ns
            said.append(Watermark(MARK_SOURCE, safe_ns))
        return said

    def _named(self, frame: BodyFrame) -> BodyFrame:
        bodies = tuple(replace(body, track_id=f"{self._prefix}-{body.track_id}") for body in frame.bodies)
        return BodyFrame(frame.t_ns, bodies)


class Publisher:
    """Takes what waits in the spool to the log, in order, for as long as it takes. One thread."""

    def __init__(self, spool: Spool, events: EventLog) -> None:
        self._spool, self._events = spool, events
        self._ended = threading.Event()
        self.away = ""
        self.told = 0
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give what waits a last chance, then end."""
        deadline_s = time.monotonic() + LAST_WORDS_S
        while self._spool.state().records and not self.away and time.monotonic() < deadline_s:
            time.sleep(0.01)
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self._ended.is_set():
            record = self._spool.take(TURN_S)
            if record is None:
                continue
            try:
                self._events.append(record)
            except LogError as error:
                if not self.away:
                    log.warning("%s; what is seen is kept in the spool", error)
                self.away = str(error)
                self._ended.wait(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            except CodecError as error:
                log.error("left out: %s", error)
            if self.away:
                log.warning("the log is back; %d records wait for it", self._spool.state().records)
            self.away, wait_s = "", FIRST_WAIT_S
            self._spool.done()
            self.told += 1


@dataclass(slots=True)
class Tally:
    """Counts since the start; ``buckets_s``: how many observations were at most so many seconds old when made."""

    rounds: int = 0
    pictures: dict[str, int] = field(default_factory=dict)
    detect_s: float = 0.0
    observations: int = 0
    people: int = 0
    age_sum_s: float = 0.0
    age_count: int = 0
    buckets_s: dict[float, int] = field(
        default_factory=lambda: dict.fromkeys((0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, float("inf")), 0)
    )

    def aged(self, age_s: float) -> None:
        """One observation, this long after its pictures were taken."""
        self.age_sum_s += age_s
        self.age_count += 1
        for limit in self.buckets_s:
            self.buckets_s[limit] += age_s <= limit


@dataclass(frozen=True, slots=True)
class EdgeState:
    """The box at one moment. ``silent_s`` is how long ago the detection thread last turned."""

    started_ns: int
    now_ns: int
    silent_s: float
    model: str
    cameras: dict[str, CameraHealth]
    tally: Tally
    late: int
    spool: SpoolState
    log_away: str
    told: int
    clips: ClipHealth | None


class EdgeService:
    """All of it running. ``run`` is the detection thread and returns when ``ended`` is set."""

    def __init__(
        self,
        config: EdgeConfig,
        cameras: dict[str, CameraModel],
        layout: Layout,
        detector: Detector,
        events: EventLog,
        clock: Clock,
        prefix: str,
    ) -> None:
        self._clock, self._detector, self._pace_s = clock, detector, 1.0 / config.detector.most_fps
        self._model = f"{config.detector.model} ({detector.name})"
        self._started_ns = clock.now_ns()
        used = {camera.id: cameras[camera.id] for camera in config.cameras}
        self._step = ObservationStep(PeopleTracker(used, layout), prefix, self._started_ns)
        self._spool = Spool(config.spool.folder, round(config.spool.most_mb * 1e6))
        self._publisher = Publisher(self._spool, events)
        self._clips = ClipRecorder(config.clips.folder, config.clips.settings()) if config.clips else None
        self._tally, self._turned_s = Tally(), time.monotonic()
        self._cameras = CameraSet(clock, config.capture.settings(), self._clips.put if self._clips else None)
        for camera in config.cameras:
            self._cameras.add(camera.id, camera.url, loop=camera.loop)

    def run(self, ended: threading.Event, on_turn: Callable[[], None] = lambda: None) -> None:
        """See until ``ended``; ``on_turn`` is called after every round, also after one that saw nothing."""
        due_s = time.monotonic()
        while not ended.wait(max(0.0, due_s - time.monotonic())):
            due_s = time.monotonic() + self._pace_s
            frames = self._cameras.read(TURN_S)
            said = self._look(frames) if frames else self._step.nothing_seen(self._clock.now_ns())
            self._say(said)
            self._turned_s = time.monotonic()
            on_turn()

    def close(self) -> None:
        """Cameras first, then everything that was seen is put away."""
        self._cameras.close()
        if self._clips is not None:
            self._clips.close()
        self._publisher.close()
        self._spool.close()

    def state(self) -> EdgeState:
        """How everything is now; any thread may ask."""
        return EdgeState(
            started_ns=self._started_ns,
            now_ns=self._clock.now_ns(),
            silent_s=time.monotonic() - self._turned_s,
            model=self._model,
            cameras=self._cameras.health(),
            tally=self._tally,
            late=self._step.late,
            spool=self._spool.state(),
            log_away=self._publisher.away,
            told=self._publisher.told,
            clips=self._clips.health() if self._clips else None,
        )

    def _look(self, frames: Sequence[Frame]) -> list[Said]:
        """All cameras' newest pictures through the net at once, as far as it takes several."""
        began_s = time.monotonic()
        found = self._detector.detect([frame.image for frame in frames])
        self._tally.detect_s += time.monotonic() - began_s
        self._tally.rounds += 1
        seen = []
        for frame, detections in zip(frames, found, strict=True):
            height, width = frame.image.shape[:2]
            seen.append(CameraDetections(frame.camera_id, frame.t_ns, (width, height), detections))
            self._tally.pictures[frame.camera_id] = self._tally.pictures.get(frame.camera_id, 0) + 1
        cameras = self._cameras.health()
        live = {name: camera.fps for name, camera in cameras.items() if camera.state is CameraState.LIVE}
        return self._step.see(seen, live)

    def _say(self, said: Sequence[Said]) -> None:
        now_ns = self._clock.now_ns()
        for record in said:
            self._spool.append(record)
            if isinstance(record, BodyFrame):
                self._tally.observations += 1
                self._tally.people = len(record.bodies)
                self._tally.aged((now_ns - record.t_ns) / NS_PER_S)


def open_edge(config: EdgeConfig, path: Path, settings: Settings, prefix: str) -> tuple[EdgeService, RedisLog]:
    """Everything that ``path`` asks for, running. Raises ``SettingsError`` by file and key before anything starts."""
    from walkout.app.calibrate import open_store

    try:
        store = open_store(config.store, config.camera_set)
    except StoreError as error:
        raise said_of(error, path, "store") from None
    needs_calibration(config, path, set(store.cameras))
    url = config.redis_url or settings.redis_url
    if url is None:
        raise SettingsError(
            f"{path}: key 'redis_url' is missing; write such as redis_url = \"redis://127.0.0.1:6379/0\""
        )
    wanted = config.detector
    try:
        detector = open_detector(
            find_card(wanted.model, settings.models_dir),
            wanted.backend,
            wanted.confidence,
            near=path,
            models_dir=settings.models_dir,
            threads=wanted.threads,
            precision=wanted.precision,
            device=wanted.device,
        )
    except ModelError as error:
        raise said_of(error, path, "detector.model") from None
    # It gives up at once: waiting is the publisher's, which must notice the end of the run.
    events = RedisLog(url, config.namespace, retry_s=0.0)
    service = EdgeService(config, dict(store.cameras), store.layout, detector, events, SystemClock(), prefix)
    return service, events


def tell_systemd(text: str) -> None:
    """Tell systemd how we are: "READY=1", "WATCHDOG=1", "STOPPING=1" (sd_notify(3)); where it started us at all."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            log.warning("systemd does not listen at %s: %s", address, error)


def run_edge(
    config: EdgeConfig,
    path: Path,
    settings: Settings,
    prefix: str,
    ended: threading.Event,
    say: Callable[[str], None],
) -> None:
    """The command: run until ``ended``, then put everything away."""
    from walkout.app.edge_health import serve_health

    service, events = open_edge(config, path, settings, prefix)
    try:
        with serve_health(config.http.listen, service.state) as address:
            say(f"{len(config.cameras)} cameras, {service.state().model}; health at http://{address}/healthz")
            tell_systemd("READY=1")
            service.run(ended, lambda: tell_systemd("WATCHDOG=1"))
    finally:
        tell_systemd("STOPPING=1")
        service.close()
        events.close()
