"""The table of topics is complete and consistent with itself."""

from typing import get_args

from walkout.bus.recording import Sensed
from walkout.bus.topics import TOPICS, Record


def test_every_record_belongs_to_exactly_one_topic() -> None:
    carried = [kind for topic in TOPICS.values() for kind in topic.records]
    assert len(carried) == len(set(carried))
    assert set(carried) == set(get_args(Record))


def test_recordings_hold_what_was_sensed() -> None:
    recorded = {kind for topic in TOPICS.values() if topic.recorded for kind in topic.records}
    assert recorded == set(get_args(Sensed))


def test_bodies_outlive_the_longest_visit_in_the_log() -> None:
    # A restarted fusion worker reads the bodies of every open visit again; two hours is a long visit.
    assert TOPICS["observations"].max_entries >= 15 * 2 * 3600
