"""How the edge box is, over HTTP: ``/healthz`` as JSON for people and watchdogs, ``/metrics`` for Prometheus."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from walkout.app.edge import EdgeState
from walkout.domain.clock import NS_PER_S
from walkout.errors import WorkerError
from walkout.vision.capture import CameraState

#: A detection thread that has not turned for this long is stuck: the slowest net we know takes 2 s for eight pictures.
STUCK_S = 30.0
#: A client that says nothing for this long is hung up on.
_PATIENCE_S = 5.0
_PREFIX = "walkout_edge_"


def health(state: EdgeState) -> tuple[int, dict[str, Any]]:
    """HTTP status and document: 200 while the box sees, however badly, 503 when it is stuck and needs a restart."""
    reasons = [
        f"camera {name}: {one.state}{': ' + one.message if one.message else ''}"
        for name, one in state.cameras.items()
        if one.state is not CameraState.LIVE
    ]
    if state.log_away:
        reasons.append(f"log: {state.log_away}")
    if state.spool.message:
        reasons.append(f"spool: {state.spool.message}")
    if state.clips is not None and not state.clips.well:
        reasons.append(f"clips: {state.clips.message}")
    stuck = state.silent_s > STUCK_S
    if stuck:
        reasons.insert(0, f"detection has not turned for {state.silent_s:.0f} s")
    document = {
        "status": "stuck" if stuck else "degraded" if reasons else "ok",
        "reasons": reasons,
        "uptime_s": round((state.now_ns - state.started_ns) / NS_PER_S, 1),
        "model": state.model,
        "cameras": {name: _camera(state, name) for name in state.cameras},
        "observations": {"told": state.told, "made": state.tally.observations, "late_pictures": state.late},
        "people": state.tally.people,
        "log": "away" if state.log_away else "there",
        "spool": {
            "records": state.spool.records,
            "bytes": state.spool.bytes_on_disk,
            "lost": state.spool.lost,
        },
        "clips": None if state.clips is None else _clips(state),
    }
    return 503 if stuck else 200, document


def _camera(state: EdgeState, name: str) -> dict[str, Any]:
    one = state.cameras[name]
    return {
        "state": str(one.state),
        "fps": round(one.fps, 2),
        "lag_s": None if one.lag_s is None else round(one.lag_s, 3),
        "size_px": one.size_px,
        "pictures": one.pictures,
        "detected": state.tally.pictures.get(name, 0),
        "dropped": one.dropped,
        "connections": one.connections,
        "time_from": one.basis,
        "latency_s": round(one.latency_s, 3),
        "message": one.message,
    }


def _clips(state: EdgeState) -> dict[str, Any]:
    clips = state.clips
    if clips is None:
        return {}
    return {
        "well": clips.well,
        "segments": clips.segments,
        "bytes": clips.bytes_on_disk,
        "oldest_ns": clips.oldest_ns,
        "pictures_lost": clips.pictures_lost,
    }


class _Metrics(Collector):
    """The state as metrics, at the moment it is asked for."""

    def __init__(self, state: Callable[[], EdgeState]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        yield from _camera_metrics(state)
        tally = state.tally
        yield _counter("rounds", "Runs of detection over the newest pictures", tally.rounds)
        yield _counter("detect_seconds", "Time spent in the net", tally.detect_s)
        yield _counter("observations", "Observations made", tally.observations)
        yield _counter("told_records", "Records that the log has taken", state.told)
        yield _counter("late_pictures", "Pictures that came after their time had been told", state.late)
        yield _gauge("people", "People in the newest observation", tally.people)
        yield _gauge("silent_seconds", "Since the detection thread last turned", state.silent_s)
        buckets = [("+Inf" if limit == float("inf") else str(limit), n) for limit, n in tally.buckets_s.items()]
        age = "capture_to_observation_seconds"
        yield HistogramMetricFamily(
            _PREFIX + age, "From light to observation", buckets=buckets, sum_value=tally.age_sum_s
        )
        yield _gauge("log_up", "Whether the log takes records", 0.0 if state.log_away else 1.0)
        yield _gauge("spool_records", "Records that wait for the log", state.spool.records)
        yield _gauge("spool_bytes", "Bytes that wait for the log", state.spool.bytes_on_disk)
        yield _counter("spool_lost_records", "Records lost because the spool was full", state.spool.lost)
        if state.clips is not None:
            yield _gauge("clips_well", "Whether video is being kept", float(state.clips.well))
            yield _gauge("clips_bytes", "Bytes of video on disk", state.clips.bytes_on_disk)
            yield _counter("clips_lost_pictures", "Pictures that were not kept", state.clips.pictures_lost)


def _camera_metrics(state: EdgeState) -> Iterator[Metric]:
    up = GaugeMetricFamily(f"{_PREFIX}camera_up", "Whether the camera shows pictures", labels=["camera"])
    fps = GaugeMetricFamily(f"{_PREFIX}camera_fps", "Pictures a second", labels=["camera"])
    lag = GaugeMetricFamily(f"{_PREFIX}camera_lag_seconds", "Age of the newest picture", labels=["camera"])
    pictures = CounterMetricFamily(f"{_PREFIX}camera_pictures", "Pictures that came", labels=["camera"])
    detected = CounterMetricFamily(f"{_PREFIX}camera_detected", "Pictures that were looked at", labels=["camera"])
    dropped = CounterMetricFamily(f"{_PREFIX}camera_dropped", "Pictures that a newer one replaced", labels=["camera"])
    links = CounterMetricFamily(f"{_PREFIX}camera_connections", "How often it was reached", labels=["camera"])
    for name, one in state.cameras.items():
        up.add_metric([name], float(one.state is CameraState.LIVE))
        fps.add_metric([name], one.fps)
        if one.lag_s is not None:
            lag.add_metric([name], one.lag_s)
        pictures.add_metric([name], one.pictures)
        detected.add_metric([name], state.tally.pictures.get(name, 0))
        dropped.add_metric([name], one.dropped)
        links.add_metric([name], one.connections)
    yield from (up, fps, lag, pictures, detected, dropped, links)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, what, value=value)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, what, value=value)


@contextlib.contextmanager
def serve_health(listen: str, state: Callable[[], EdgeState]) -> Iterator[str]:
    """Serve on ``HOST:PORT`` and yield the address in use. Raises ``WorkerError`` where it is taken."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(state))

    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif self.path == "/healthz":
                status, document = health(state())
                self._answer(status, "application/json", json.dumps(document).encode() + b"\n")
            else:
                self._answer(404, "text/plain", b"/healthz and /metrics are here\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            """Scrapes are not news."""

    host, _, port = listen.rpartition(":")
    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
    except OSError as error:
        raise WorkerError(f"http.listen {listen}: {error.strerror}; choose another port") from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
