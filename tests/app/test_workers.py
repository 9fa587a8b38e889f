"""The edge worker over a log in memory: what a successor adds, and how far it runs ahead."""

from pathlib import Path

import pytest

from walkout.app.build import Run, plan_run, read_run
from walkout.app.source import open_source, recording_id, survey
from walkout.app.workers import edge
from walkout.bus.log import MemoryLog
from walkout.bus.recording import RecordingMeta, RecordingWriter
from walkout.bus.topics import Record
from walkout.cli import record_kiosk
from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import BodyFrame, Watermark
from walkout.errors import WorkerError
from walkout.settings import Settings
from walkout.sim.kiosk import kiosk_store
from walkout.store.loader import write_store

TOPICS = ("gate_events", "observations", "weight_events", "gaps", "watermarks")


class Followed(MemoryLog):
    """A log whose fusion follows at once."""

    def append(self, record: Record) -> str:
        if isinstance(record, Watermark) and record.source == "edge":
            super().append(Watermark("fusion", record.t_ns))
        return super().append(record)


class Killed(Exception):
    """The worker is dead."""


class Deadly(Followed):
    """A log that kills its writer after so many records."""

    def __init__(self, lives: int) -> None:
        super().__init__()
        self.lives = lives

    def append(self, record: Record) -> str:
        if self.lives == 0:
            raise Killed
        self.lives -= 1
        return super().append(record)


def plan(folder: Path, recording: Path) -> Run:
    source = open_source(recording)
    found = survey(recording_id(recording), source.records())
    return plan_run(folder, "unix:///none", Settings(), source, None, found, None)


def contents(log: MemoryLog, topic: str) -> list[Record]:
    return [
        entry.record
        for entry in log.scan(topic)
        if not (isinstance(entry.record, Watermark) and entry.record.source == "fusion")
    ]


@pytest.mark.parametrize("lives", [0, 7, 200, 555])
def test_a_successor_of_the_edge_worker_adds_what_is_missing(tmp_path: Path, lives: int) -> None:
    record_kiosk(tmp_path / "kiosk")
    run = plan(tmp_path, tmp_path / "kiosk")
    whole, resumed = Followed(), Deadly(lives)
    edge(run, whole)
    with pytest.raises(Killed):
        edge(run, resumed)
    resumed.lives = -1
    edge(run, resumed)
    for topic in TOPICS:
        assert list(dict.fromkeys(contents(resumed, topic))) == contents(whole, topic), topic
    repeats = sum(len(contents(resumed, topic)) - len(contents(whole, topic)) for topic in TOPICS)
    assert repeats < 15, "at most what stands between two watermarks is said again"


def test_a_silent_stretch_longer_than_the_lead_does_not_stop_the_player(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "quiet", RecordingMeta("quiet", "test", 0)) as writer:
        for second in (1, 1000, 2000):
            writer.write(BodyFrame(second * NS_PER_S, ()))
    write_store(kiosk_store(), tmp_path / "quiet" / "store")
    log = Followed()
    edge(plan(tmp_path, tmp_path / "quiet"), log)
    assert len(contents(log, "observations")) == 3


def test_what_a_run_is_made_of_survives_the_file(tmp_path: Path) -> None:
    record_kiosk(tmp_path / "kiosk")
    run = plan(tmp_path, tmp_path / "kiosk")
    run.write()
    assert read_run(tmp_path) == run
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600


def test_a_worker_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="no run here"):
        read_run(tmp_path)
