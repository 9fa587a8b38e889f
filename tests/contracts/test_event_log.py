"""What every event log promises, over every name in the table; then what a real server must survive besides."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
import redis

from walkout.bus.log import LOGS, Entry, EventLog, MemoryLog, RedisLog, drop_namespace, private_server
from walkout.bus.topics import TOPICS
from walkout.domain.sensing import (
    BodyFrame,
    Gap,
    GateEvent,
    GateEventKind,
    LoadCellBatch,
    PlateId,
    Watermark,
)
from walkout.domain.shopping import Assignment, BasketEvent, BasketEventKind, Candidate, Part, Undecided, VisitClosed
from walkout.errors import CodecError, LogError

TWO = ("observations", "gate_events")


def frame(t_ns: int) -> BodyFrame:
    return BodyFrame(t_ns, ())


def frames(*times: int) -> list[BodyFrame]:
    return [frame(t_ns) for t_ns in times]


def records(entries: list[Entry]) -> list[object]:
    return [entry.record for entry in entries]


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with private_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(params=LOGS)
def reopen(request: pytest.FixtureRequest, server_url: str) -> Iterator[Callable[[], EventLog]]:
    """Opens the same log as often as asked, as a restarted process would."""
    if request.param == "memory":
        memory = MemoryLog()
        yield lambda: memory
        return
    namespace = f"contract-{request.node.name.partition('[')[0]}"
    with ExitStack() as opened:

        def open_redis() -> EventLog:
            log = RedisLog(server_url, namespace, retry_s=1.0)
            opened.callback(log.close)
            return log

        yield open_redis
    drop_namespace(server_url, namespace)


@pytest.fixture
def log(reopen: Callable[[], EventLog]) -> EventLog:
    return reopen()


def test_a_group_reads_what_was_appended_before_it_existed(log: EventLog) -> None:
    log.append(frame(1))
    assert records(log.read("fusion", "a", ("observations",))) == [frame(1)]


def test_entries_of_a_topic_come_in_the_order_of_appending(log: EventLog) -> None:
    ids = [log.append(frame(t_ns)) for t_ns in (5, 3, 9)]
    entries = log.read("fusion", "a", ("observations",))
    assert records(entries) == frames(5, 3, 9)
    assert [entry.entry_id for entry in entries] == ids
    assert {entry.topic for entry in entries} == {"observations"}


def test_every_kind_of_record_finds_its_topic(log: EventLog) -> None:
    pick = BasketEvent("e", "v", 1, BasketEventKind.PICK, "1", 1, 0.9)
    doubt, sure = Undecided("w", (), "too close"), Assignment("w", Candidate((Part(None, ()),), 0, 1.0))
    closed, gap, mark = VisitClosed("v", 2, 1, 0.9), Gap("s", 1, 2, "r"), Watermark("s", 3)
    for record in (doubt, pick, sure, closed, gap, mark):
        log.append(record)
    assert records(log.read("console", "a", ("basket_events", "decisions", "visits"))) == [
        pick,
        doubt,
        sure,
        closed,
    ]
    assert records(log.read("console", "a", ("gaps", "watermarks"))) == [gap, mark]


def test_an_entry_is_delivered_once_per_group(log: EventLog) -> None:
    log.append(frame(1))
    assert len(log.read("fusion", "a", TWO)) == 1
    assert log.read("fusion", "a", TWO) == []
    assert len(log.read("console", "a", TWO)) == 1


def test_two_consumers_of_a_group_share_the_entries(log: EventLog) -> None:
    for t_ns in range(10):
        log.append(frame(t_ns))
    first = log.read("fusion", "a", TWO, max_count=4)
    second = log.read("fusion", "b", TWO, max_count=100)
    assert records(first) == frames(0, 1, 2, 3)
    assert records(second) == frames(4, 5, 6, 7, 8, 9)


def test_the_count_bounds_each_topic(log: EventLog) -> None:
    gate = [GateEvent(t_ns, GateEventKind.ENTERED, f"v{t_ns}", None) for t_ns in range(3)]
    for t_ns in range(3):
        log.append(frame(t_ns))
        log.append(gate[t_ns])
    assert records(log.read("fusion", "a", TWO, max_count=2)) == [*frames(0, 1), *gate[:2]]
    assert records(log.read("fusion", "a", TWO, max_count=2)) == [frame(2), gate[2]]


def test_whoever_has_read_a_watermark_finds_everything_before_it(log: EventLog) -> None:
    for t_ns in range(40):
        log.append(frame(t_ns))
    log.append(Watermark("edge", 40))
    topics = ("watermarks", "observations")
    found = log.read("fusion", "a", topics, max_count=7)
    assert found[0].record == Watermark("edge", 40)
    while more := log.read("fusion", "a", topics, max_count=7):
        found += more
    assert records(found[1:]) == frames(*range(40))


def test_a_blocking_read_returns_with_the_first_entry(reopen: Callable[[], EventLog]) -> None:
    reader, writer = reopen(), reopen()
    found: list[Entry] = []
    waiting = threading.Thread(target=lambda: found.extend(reader.read("fusion", "a", TWO, block_s=30.0)))
    waiting.start()
    writer.append(frame(1))
    waiting.join(timeout=60.0)
    assert records(found) == [frame(1)]


def test_a_blocking_read_of_a_quiet_log_returns_empty(log: EventLog) -> None:
    assert log.read("fusion", "a", TWO, block_s=0.05) == []


def test_a_successor_claims_what_a_dead_consumer_left(reopen: Callable[[], EventLog]) -> None:
    before = reopen()
    for t_ns in range(700):
        before.append(frame(t_ns))
    delivered = before.read("fusion", "dead", TWO, max_count=650)
    before.ack("fusion", delivered[:5])

    after = reopen()
    claimed = after.claim("fusion", "heir", TWO)
    assert records(claimed) == frames(*range(5, 650))
    assert records(after.read("fusion", "heir", TWO)) == frames(*range(650, 700))
    after.ack("fusion", claimed)
    assert records(after.claim("fusion", "third", TWO)) == frames(*range(650, 700))


def test_a_restarted_consumer_claims_its_own_unfinished_entries(reopen: Callable[[], EventLog]) -> None:
    before = reopen()
    before.append(frame(1))
    before.append(GateEvent(2, GateEventKind.ENTERED, "v", "1"))
    before.read("fusion", "a", TWO)

    after = reopen()
    assert after.read("fusion", "a", TWO) == []
    assert records(after.claim("fusion", "a", TWO, min_idle_s=3600.0)) == [
        frame(1),
        GateEvent(2, GateEventKind.ENTERED, "v", "1"),
    ]


def test_a_busy_consumer_keeps_its_entries(log: EventLog) -> None:
    log.append(frame(1))
    log.read("fusion", "busy", TWO)
    assert log.claim("fusion", "heir", TWO, min_idle_s=3600.0) == []
    assert records(log.claim("fusion", "busy", TWO)) == [frame(1)]


def test_claiming_twice_gives_the_same_entries(log: EventLog) -> None:
    for t_ns in range(3):
        log.append(frame(t_ns))
    log.read("fusion", "dead", TWO)
    assert log.claim("fusion", "heir", TWO) == log.claim("fusion", "heir", TWO)
    assert len(log.claim("fusion", "heir", TWO)) == 3


def test_claiming_where_nothing_was_ever_read_gives_nothing(log: EventLog) -> None:
    log.append(frame(1))
    assert log.claim("fusion", "heir", TWO) == []


def test_what_is_acknowledged_is_never_delivered_again(reopen: Callable[[], EventLog]) -> None:
    log = reopen()
    log.append(frame(1))
    entries = log.read("fusion", "a", TWO)
    log.ack("fusion", entries)
    log.ack("fusion", entries)
    log.ack("fusion", [])
    again = reopen()
    assert again.read("fusion", "a", TWO) == []
    assert again.claim("fusion", "a", TWO) == []


def test_one_group_acknowledging_leaves_the_others_entry_pending(log: EventLog) -> None:
    log.append(frame(1))
    for group in ("fusion", "console"):
        log.read(group, "a", TWO)
    log.ack("fusion", log.claim("fusion", "a", TWO))
    assert records(log.claim("console", "a", TWO)) == [frame(1)]


def test_a_scan_meets_everything_retained_whatever_was_read(log: EventLog) -> None:
    for t_ns in range(1100):
        log.append(frame(t_ns))
    log.ack("fusion", log.read("fusion", "a", TWO))
    assert [entry.record for entry in log.scan("observations")] == frames(*range(1100))
    assert list(log.scan("visits")) == []


def test_old_entries_are_trimmed_and_the_unfinished_among_them_told_as_gaps(log: EventLog) -> None:
    kept = TOPICS["watermarks"].max_entries
    log.append(Watermark("edge", -1))
    log.read("fusion", "a", ("watermarks",))
    log.append(Watermark("edge", -2))
    log.read("fusion", "dead", ("watermarks",))
    # A server trims whole nodes of its tree, 100 entries each by default.
    for t_ns in range(kept + 200):
        log.append(Watermark("edge", t_ns))

    retained = [entry.record for entry in log.scan("watermarks")]
    assert kept <= len(retained) < kept + 200
    assert retained[-1] == Watermark("edge", kept + 199)
    claimed = log.claim("fusion", "a", ("watermarks",))
    assert [type(entry.record) for entry in claimed] == [Gap, Gap]
    for entry in claimed:
        assert isinstance(entry.record, Gap)
        assert entry.record.source == "log/watermarks"
        assert "trimmed" in entry.record.reason
    log.ack("fusion", claimed)
    assert log.claim("fusion", "a", ("watermarks",)) == []


def test_a_record_that_breaks_its_contract_is_refused_and_leaves_no_entry(log: EventLog) -> None:
    plate = PlateId("1", 1, 1)
    with pytest.raises(CodecError):
        log.append(LoadCellBatch("box", (plate,), 0, float("nan"), np.zeros((1, 1), np.float32)))
    assert list(log.scan("plate_batches")) == []


def test_many_writers_lose_nothing(reopen: Callable[[], EventLog]) -> None:
    def write(source: str) -> None:
        log = reopen()
        for t_ns in range(50):
            log.append(Watermark(source, t_ns))

    writers = [threading.Thread(target=write, args=(f"box-{number}",)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = records(reopen().read("fusion", "a", ("watermarks",)))
    assert len(found) == 200
    for number in range(4):
        own = [mark.t_ns for mark in found if isinstance(mark, Watermark) and mark.source == f"box-{number}"]
        assert own == list(range(50))


# What only a server can suffer.


def kill_server(url: str) -> None:
    client = redis.Redis.from_url(url)
    server = psutil.Process(int(client.info("server")["process_id"]))
    client.close()
    server.kill()
    psutil.wait_procs([server], timeout=10.0)


def test_a_killed_server_keeps_entries_and_what_is_pending(tmp_path: Path) -> None:
    with private_server(tmp_path) as first_url:
        log = RedisLog(first_url, "kept")
        for t_ns in range(30):
            log.append(frame(t_ns))
        delivered = log.read("fusion", "a", TWO, max_count=20)
        log.ack("fusion", delivered[:10])
        kill_server(first_url)
    with private_server(tmp_path) as second_url:
        assert second_url == first_url
        # The same client goes on: its broken connection is replaced.
        assert records(log.read("fusion", "a", TWO)) == frames(*range(20, 30))
        assert records(log.claim("fusion", "heir", TWO)) == frames(*range(10, 30))
        log.close()


def test_a_client_waits_for_a_server_that_comes_back(tmp_path: Path) -> None:
    waits: list[float] = []
    with ExitStack() as servers:
        url = servers.enter_context(private_server(tmp_path))

        def restart_at_the_third_wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                servers.close()
                servers.enter_context(private_server(tmp_path))

        log = RedisLog(url, "patient", sleep=restart_at_the_third_wait)
        log.append(frame(1))
        kill_server(url)
        log.append(frame(2))
        assert len(waits) == 3
        assert waits == sorted(waits)
        assert records(log.read("fusion", "a", TWO)) == frames(1, 2)
        log.close()


def test_a_server_that_stays_away_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    waits: list[float] = []
    log = RedisLog(f"unix://{tmp_path}/nobody.sock", "x", retry_s=7.0, sleep=waits.append)
    with pytest.raises(LogError, match=r"nobody\.sock.*tried for 7 s; is the server running"):
        log.append(frame(1))
    assert sum(waits) == pytest.approx(7.0)


def test_an_error_never_shows_the_password() -> None:
    log = RedisLog("redis://shop:secret@127.0.0.1:1/0", "x", retry_s=0.0)
    with pytest.raises(LogError) as caught:
        log.append(frame(1))
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("url", "namespace"), [("nats://host", "x"), ("redis://h", "two words"), ("redis://h", "")])
def test_a_url_or_namespace_that_cannot_work_is_refused_at_once(url: str, namespace: str) -> None:
    with pytest.raises(LogError):
        RedisLog(url, namespace)


def test_an_answer_that_got_lost_on_the_way_is_delivered_after_all(server_url: str) -> None:
    """The server counts entries as delivered whose answer never arrived; they must not be passed over."""

    class Deaf:
        """A client whose first answer to a read of new entries gets lost."""

        def __init__(self, client: redis.Redis) -> None:
            self._client, self._heard = client, False

        def __getattr__(self, name: str) -> object:
            return getattr(self._client, name)

        def xreadgroup(self, *arguments: object, **options: object) -> object:
            answer = self._client.xreadgroup(*arguments, **options)  # type: ignore[arg-type]
            if answer and not self._heard:
                self._heard = True
                raise redis.ConnectionError("cut in the middle of the answer")
            return answer

    log = RedisLog(server_url, "lost-answer", sleep=lambda _seconds: None)
    log.append(frame(1))
    assert records(log.read("fusion", "a", TWO)) == [frame(1)]
    log.append(frame(2))
    log.append(frame(3))
    log._client = Deaf(log._client)
    found = log.read("fusion", "a", TWO, max_count=1)
    while more := log.read("fusion", "a", TWO, max_count=1):
        found += more
    assert records(found) == frames(2, 3)
    drop_namespace(server_url, "lost-answer")


def test_an_entry_that_cannot_be_read_is_a_gap_and_its_neighbours_are_not(server_url: str) -> None:
    log = RedisLog(server_url, "garbage")
    log.append(frame(1))
    client = redis.Redis.from_url(server_url)
    client.xadd("walkout:{garbage}:observations", {"r": b"\x0a\xff\xff"})
    client.xadd("walkout:{garbage}:observations", {"something": b"else"})
    client.close()
    log.append(frame(2))

    entries = log.read("fusion", "a", ("observations",))
    assert records(entries)[::3] == frames(1, 2)
    for entry in entries[1:3]:
        assert isinstance(entry.record, Gap)
        assert entry.record.source == "log/observations"
        assert entry.entry_id in entry.record.reason
        assert entry.record.start_ns > 1_500_000_000 * 10**9
    log.ack("fusion", entries)
    assert log.claim("fusion", "a", ("observations",)) == []
    log.close()
    drop_namespace(server_url, "garbage")


def test_a_dropped_namespace_is_empty_and_its_readers_go_on(server_url: str) -> None:
    log, neighbour = RedisLog(server_url, "dropped"), RedisLog(server_url, "neighbour")
    for each in (log, neighbour):
        each.append(frame(1))
    log.read("fusion", "a", TWO)
    drop_namespace(server_url, "dropped")
    assert log.claim("fusion", "a", TWO) == []
    log.append(frame(2))
    assert records(log.read("fusion", "a", TWO)) == [frame(2)]
    assert [entry.record for entry in neighbour.scan("observations")] == [frame(1)]
    drop_namespace(server_url, "neighbour")


# The private server.


def test_the_private_server_opens_no_network_port(server_url: str) -> None:
    client = redis.Redis.from_url(server_url)
    server = psutil.Process(int(client.info("server")["process_id"]))
    socket = Path(client.connection_pool.connection_kwargs["path"])
    client.close()
    assert server.net_connections(kind="inet") == []
    assert socket.stat().st_mode & 0o77 == 0


def test_the_private_server_is_gone_after_its_context(tmp_path: Path) -> None:
    with private_server(tmp_path) as url:
        client = redis.Redis.from_url(url)
        server = psutil.Process(int(client.info("server")["process_id"]))
    assert not server.is_running()


def test_a_folder_too_deep_for_a_socket_works_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with private_server(deep) as url:
        log = RedisLog(url, "deep")
        log.append(frame(1))
        log.close()
    with private_server(deep) as again:
        assert again == url
        log = RedisLog(url, "deep")
        assert [entry.record for entry in log.scan("observations")] == [frame(1)]
        log.close()


def test_two_servers_never_share_a_folder(tmp_path: Path) -> None:
    with (
        private_server(tmp_path),
        pytest.raises(LogError, match="in use by another log server"),
        private_server(tmp_path, sleep=lambda _seconds: None),
    ):
        pass


def test_a_server_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    aof = tmp_path / "appendonlydir"
    aof.mkdir()
    (aof / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(LogError, match=r"did not start.*server\.log"), private_server(tmp_path):
        pass


OWNER = """
import sys, time, redis
from pathlib import Path
from walkout.bus.log import private_server
with private_server(Path(sys.argv[1])) as url:
    print(redis.Redis.from_url(url).info("server")["process_id"], flush=True)
    time.sleep(600)
"""


def ended(process: psutil.Process) -> bool:
    """Whether it ends within half a minute; where nobody collects orphans, a zombie has ended too."""
    for _ in range(3000):
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_server_outlives_its_owner(tmp_path: Path, blow: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert owner.stdout is not None
    server = psutil.Process(int(owner.stdout.readline()))
    os.kill(owner.pid, blow)
    owner.wait(timeout=60.0)
    owner.stdout.close()
    survived = not ended(server)
    if survived:
        server.kill()
    assert not survived
    with private_server(tmp_path):  # and its folder is free again
        pass
