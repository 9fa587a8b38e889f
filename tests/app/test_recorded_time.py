"""Sending times become event times: order, doubles, strays, clock steps, the regular clock of a controller."""

import random
from itertools import pairwise

import pytest

from walkout.app.recorded_time import Line, SampleClock, Sequence, Timed
from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import Gap

START = 1_587_611_000 * NS_PER_S
BATCH = NS_PER_S // 5
SAMPLE = NS_PER_S / 60


def line(number: int, t_ns: int, key: object = None) -> Line[int]:
    return Line(t_ns, number, (number if key is None else key), number)


def put_in_order(lines: list[Line[int]]) -> tuple[list[tuple[int, int]], list[Gap], int]:
    """(time, number) of what comes out, the gaps, the doubles."""
    sequence: Sequence[int] = Sequence("sender", "file")
    found = [item for one in lines for item in sequence.push(one)] + sequence.flush()
    kept = [(item.t_ns, item.number) for item in found if isinstance(item, Line)]
    return kept, [item for item in found if isinstance(item, Gap)], sequence.doubled


def steady(count: int, start_ns: int = START, first: int = 0) -> list[Line[int]]:
    return [line(first + n, start_ns + n * BATCH) for n in range(count)]


def test_lines_in_order_pass_unchanged() -> None:
    kept, gaps, doubled = put_in_order(steady(20))
    assert kept == [(START + n * BATCH, n) for n in range(20)]
    assert (gaps, doubled) == ([], 0)


def test_lines_swapped_within_a_second_are_put_in_order() -> None:
    lines = steady(20)
    lines[5], lines[9] = lines[9], lines[5]
    lines[0], lines[1] = lines[1], lines[0]
    kept, gaps, _ = put_in_order(lines)
    assert kept == [(START + n * BATCH, n) for n in range(20)]
    assert gaps == []


def test_a_double_is_dropped_and_counted() -> None:
    lines = steady(20)
    lines.insert(8, line(7, lines[7].t_ns))
    lines.insert(15, line(99, lines[14].t_ns + 1, key=lines[10].key))
    kept, gaps, doubled = put_in_order(lines)
    assert [number for _, number in kept] == list(range(20))
    assert (gaps, doubled) == ([], 2)


@pytest.mark.parametrize("offset_s", [-86_400, -3, 86_400, 12])
@pytest.mark.parametrize("at", [0, 1, 10, 19])
def test_a_stray_time_is_left_out_and_told(offset_s: int, at: int) -> None:
    lines = steady(20)
    if offset_s == -3 and at < 19:
        at = 18  # three seconds back is a stray only where so much has been handed on
    lines[at] = line(at, lines[at].t_ns + offset_s * NS_PER_S)
    kept, gaps, _ = put_in_order(lines)
    assert [number for _, number in kept] == [n for n in range(20) if n != at]
    assert [gap.reason for gap in gaps] == [f"file: line {at} has a time that fits no other; left out"]
    assert START <= gaps[0].start_ns <= START + 20 * BATCH


@pytest.mark.parametrize("back_s", [7, 3600])
def test_a_clock_set_back_goes_on_with_a_gap(back_s: int) -> None:
    lines = steady(20) + steady(20, START + 20 * BATCH - back_s * NS_PER_S, 20)
    kept, gaps, _ = put_in_order(lines)
    assert kept == [(START + n * BATCH, n) for n in range(40)]
    assert len(gaps) == 1
    assert "stepped back" in gaps[0].reason


def test_a_clock_set_back_and_right_again_loses_nothing() -> None:
    lines = steady(20) + steady(20, START - 3600 * NS_PER_S, 20) + steady(20, START + 40 * BATCH, 40)
    kept, gaps, _ = put_in_order(lines)
    assert [number for _, number in kept] == list(range(60))
    assert max(t_ns for t_ns, _ in kept) <= START + 60 * BATCH
    assert ["stepped back" in gap.reason or "set right" in gap.reason for gap in gaps] == [True, True]


def test_a_long_silence_is_believed_once_three_lines_agree() -> None:
    kept, gaps, _ = put_in_order(steady(10) + steady(10, START + 600 * NS_PER_S, 10))
    assert len(kept) == 20
    assert kept[10][0] == START + 600 * NS_PER_S
    assert gaps == []


def test_two_lines_are_enough_when_there_are_no_more() -> None:
    assert put_in_order(steady(2))[0] == [(START, 0), (START + BATCH, 1)]
    assert put_in_order([]) == ([], [], 0)


def run_clock(sent: list[tuple[int, int]], samples: int = 12) -> tuple[list[Timed[int]], list[Gap]]:
    clock: SampleClock[int] = SampleClock("gondola-1")
    found = [item for sent_ns, index in sent for item in clock.push(sent_ns, samples, 60.0, index)] + clock.flush()
    return [one for one in found if isinstance(one, Timed)], [one for one in found if isinstance(one, Gap)]


def jittered(count: int, seed: int, lost: frozenset[int] = frozenset(), drift: float = 0.0) -> list[tuple[int, int]]:
    """Batches sent 94 ms and a bit after their last sample, as measured on the real controllers."""
    rng = random.Random(seed)
    delays = [0.094 + rng.expovariate(1 / 0.003) for _ in range(count)]
    ends = [START + round((n + 1) * BATCH * (1.0 + drift)) for n in range(count)]
    return [(end + to_ns(delay), n) for n, (end, delay) in enumerate(zip(ends, delays, strict=True)) if n not in lost]


def to_ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


@pytest.mark.parametrize("seed", range(5))
def test_jittered_sending_times_become_an_even_clock(seed: int) -> None:
    timed, gaps = run_clock(jittered(500, seed))
    assert gaps == []
    assert [one.payload for one in timed] == list(range(500))
    joints = [after.t0_ns - before.end_ns for before, after in pairwise(timed)]
    assert max(map(abs, joints)) <= 0.1 * SAMPLE + 1
    errors = [one.end_ns - (START + (one.payload + 1) * BATCH + to_ns(0.094)) for one in timed]
    assert max(errors) < to_ns(0.008)
    assert min(errors) > -to_ns(0.001)
    assert max(map(abs, errors[50:])) < to_ns(0.004)


@pytest.mark.parametrize("drift", [-1e-4, 1e-4])
def test_the_clock_follows_a_crystal_that_is_off(drift: float) -> None:
    timed, gaps = run_clock(jittered(20_000, 1, drift=drift))
    assert gaps == []
    late = timed[-1].end_ns - (START + round(20_000 * BATCH * (1.0 + drift)) + to_ns(0.094))
    assert abs(late) < to_ns(0.005)


@pytest.mark.parametrize("lost", [{7}, {7, 8, 9}, {3, 40}])
def test_lost_batches_are_a_gap_of_whole_batches(lost: set[int]) -> None:
    timed, gaps = run_clock(jittered(100, 2, frozenset(lost)))
    assert sum(round((gap.end_ns - gap.start_ns) / BATCH) for gap in gaps) == len(lost)
    errors = [one.end_ns - (START + (one.payload + 1) * BATCH + to_ns(0.094)) for one in timed]
    assert max(map(abs, errors)) < to_ns(0.010)
    ends = {one.end_ns for one in timed}
    for gap in gaps:
        assert gap.start_ns in ends


def test_batches_held_up_together_are_spread_out_again() -> None:
    sent = [(START + (n + 1) * BATCH, n) for n in range(50)]
    for n in (20, 21, 22):
        sent[n] = (sent[22][0] + n, n)
    timed, gaps = run_clock(sent)
    assert gaps == []
    for one in timed:
        assert abs(one.end_ns - (START + (one.payload + 1) * BATCH)) <= 0.1 * SAMPLE


def test_an_outage_starts_the_clock_anew() -> None:
    sent = [(START + (n + 1) * BATCH, n) for n in range(50)]
    sent += [(START + to_ns(3600.123) + n * BATCH, 50 + n) for n in range(50)]
    timed, gaps = run_clock(sent)
    assert len(gaps) == 1
    assert timed[50].end_ns == START + to_ns(3600.123)


def test_a_small_step_back_of_the_clock_is_told_and_time_goes_on() -> None:
    sent = [(START + (n + 1) * BATCH, n) for n in range(50)]
    sent += [(START + (n + 1) * BATCH - to_ns(0.5), n) for n in range(50, 100)]
    timed, gaps = run_clock(sorted(sent))
    assert any("stepped back" in gap.reason for gap in gaps)
    assert len(timed) == 100
    for before, after in pairwise(timed):
        assert abs(after.t0_ns - before.end_ns) <= 0.1 * SAMPLE + 1
        assert after.t0_ns > before.t0_ns
