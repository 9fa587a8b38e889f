"""The spool of the edge: in order, bounded, whole after a crash, and honest about what it had to let go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from walkout.app.spool import LOST_SOURCE, Said, Spool
from walkout.domain.sensing import Body, BodyFrame, Gap, Joint, Watermark
from walkout.errors import WorkerError

T0 = 1_700_000_000_000_000_000
BIG = 10_000_000


def body_frame(number: int) -> BodyFrame:
    joint = Joint(1.0, 2.0, 1.6, 0.9)
    return BodyFrame(T0 + number, (Body("p1", joint, (joint, joint)),))


def taken(spool: Spool) -> list[Said]:
    """Everything that waits, each record done."""
    found = []
    while (record := spool.take(0.0)) is not None:
        spool.done()
        found.append(record)
    return found


def test_records_come_out_in_the_order_they_went_in(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BIG)
    said = [body_frame(1), Watermark("edge", T0 + 1), Gap("cameras", T0, T0 + 5, "dark"), body_frame(2)]
    for record in said:
        spool.append(record)
    assert taken(spool) == said
    assert spool.state().records == 0


def test_a_record_that_is_not_done_is_given_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BIG)
    spool.append(body_frame(1))
    spool.append(body_frame(2))
    assert spool.take(0.0) == spool.take(0.0) == body_frame(1)
    spool.done()
    assert spool.take(0.0) == body_frame(2)


def test_what_waits_outlives_the_process(tmp_path: Path) -> None:
    first = Spool(tmp_path, BIG)
    for number in range(5):
        first.append(body_frame(number))
    assert [first.take(0.0), first.done()] == [body_frame(0), None]
    first.close()
    second = Spool(tmp_path, BIG)
    assert second.state().records == 4
    assert taken(second) == [body_frame(number) for number in range(1, 5)]
    second.append(body_frame(9))
    second.close()
    assert taken(Spool(tmp_path, BIG)) == [body_frame(9)]


def test_a_killed_process_loses_nothing_it_had_said(tmp_path: Path) -> None:
    script = (
        "import os, sys, signal\nfrom pathlib import Path\nfrom walkout.app.spool import Spool\n"
        "from walkout.domain.sensing import Watermark\nspool = Spool(Path(sys.argv[1]), 10_000_000)\n"
        "for n in range(100):\n    spool.append(Watermark('edge', n))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    assert taken(Spool(tmp_path, BIG)) == [Watermark("edge", number) for number in range(100)]


def test_a_torn_tail_is_cut_off_and_writing_goes_on_behind_it(tmp_path: Path) -> None:
    first = Spool(tmp_path, BIG)
    first.append(body_frame(1))
    first.append(body_frame(2))
    first.close()
    (segment,) = tmp_path.glob("*.frames")
    os.truncate(segment, segment.stat().st_size - 3)
    second = Spool(tmp_path, BIG)
    second.append(body_frame(3))
    assert taken(second) == [body_frame(1), body_frame(3)]


def test_damage_in_the_middle_is_told_as_a_gap_and_the_rest_comes(tmp_path: Path) -> None:
    first = Spool(tmp_path, BIG)
    for number in range(3):
        first.append(body_frame(number))
    first.close()
    (segment,) = tmp_path.glob("*.frames")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)
    found = taken(Spool(tmp_path, BIG))
    assert [record for record in found if isinstance(record, BodyFrame)] == [body_frame(0), body_frame(2)]
    assert [record.source for record in found if isinstance(record, Gap)] == [LOST_SOURCE]


def test_when_full_the_oldest_go_and_a_gap_stands_for_exactly_them(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100_000)
    for number in range(3000):
        spool.append(body_frame(number))
    state = spool.state()
    assert state.bytes_on_disk <= 100_000
    assert sum(path.stat().st_size for path in tmp_path.glob("*.frames")) <= 100_000
    gap, *kept = taken(spool)
    assert isinstance(gap, Gap)
    first = 3000 - len(kept)
    assert first == state.lost > 0
    assert (gap.source, gap.start_ns, gap.end_ns) == (LOST_SOURCE, T0, T0 + first - 1)
    assert kept == [body_frame(number) for number in range(first, 3000)]


def test_the_loss_is_still_told_after_a_restart_and_then_never_again(tmp_path: Path) -> None:
    first = Spool(tmp_path, 100_000)
    for number in range(3000):
        first.append(body_frame(number))
    first.close()
    second = Spool(tmp_path, 100_000)
    gap = second.take(0.0)
    assert isinstance(gap, Gap)
    assert gap.end_ns > gap.start_ns == T0
    taken(second)
    second.close()
    assert taken(Spool(tmp_path, 100_000)) == []


def test_loss_while_the_gap_is_on_its_way_is_told_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100_000)
    for number in range(2000):
        spool.append(body_frame(number))
    early = spool.take(0.0)
    for number in range(2000, 4000):
        spool.append(body_frame(number))
    spool.done()
    late = spool.take(0.0)
    assert isinstance(early, Gap)
    assert isinstance(late, Gap)
    assert late.end_ns > early.end_ns


def test_a_record_dropped_while_on_its_way_does_not_mark_a_later_one_as_done(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100_000)
    spool.append(body_frame(0))
    assert spool.take(0.0) == body_frame(0)
    for number in range(1, 3000):
        spool.append(body_frame(number))
    spool.done()
    kept = [record for record in taken(spool) if isinstance(record, BodyFrame)]
    assert [record.t_ns - T0 for record in kept] == list(range(kept[0].t_ns - T0, 3000))
    assert len(kept) + spool.state().lost == 3000


def test_what_was_taken_leaves_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BIG)
    for number in range(20_000):
        spool.append(body_frame(number))
        assert spool.take(0.0) == body_frame(number)
        spool.done()
    assert sum(path.stat().st_size for path in tmp_path.glob("*.frames")) < 1_000_000
    assert spool.state().lost == 0


def test_two_processes_do_not_share_a_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BIG)
    with pytest.raises(WorkerError, match="another edge"):
        Spool(tmp_path, BIG)
    spool.close()


def test_a_full_disk_costs_records_but_never_the_edge(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for the disk: writes beyond it fail with EFBIG, as they fail with ENOSPC."""
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom walkout.app.spool import Spool\n"
        "from walkout.domain.sensing import Gap, Watermark\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "spool = Spool(Path(sys.argv[1]), 10_000_000)\nresource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "for n in range(1000):\n    spool.append(Watermark('edge', n))\n"
        "seen = 0\n"
        "while (record := spool.take(0.0)) is not None:\n    spool.done(); seen += isinstance(record, Watermark)\n"
        "state = spool.state()\nassert 0 < seen < 1000 and seen + state.lost == 1000, (seen, state)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
