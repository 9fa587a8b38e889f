"""Why a line was charged, in words and in a picture, on a simulated visit."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from walkout.app.build import in_process_billing
from walkout.app.explain import Told, draw, find_event, in_words, tell
from walkout.app.source import open_source
from walkout.cli import record_kiosk
from walkout.domain.sensing import WeightEventKind
from walkout.errors import RecordingError
from walkout.settings import Settings


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("scene") / "kiosk"
    record_kiosk(folder)
    with in_process_billing(Settings()) as client:
        yield tell(open_source(folder), client)


def test_every_step_is_explained_in_order_of_time(told: Told) -> None:
    assert len(told.events) >= 8
    assert [one.step_ns for one in told.events] == sorted(one.step_ns for one in told.events)
    assert all(one.kind is WeightEventKind.STEP for one in told.events)


def test_the_words_name_plates_grams_shopper_and_product(told: Told) -> None:
    words = in_words(told, told.events[0])
    assert str(told.events[0].plates[0]) in words[0]
    assert f"{told.events[0].delta_g[0]:+.1f} g" in words[0]
    assert "track-" in words[1]
    assert "took" in words[1]
    assert "%" in words[1]


def test_an_event_is_found_by_number_or_by_the_beginning_of_its_id(told: Told) -> None:
    assert find_event(told, "2") is told.events[1]
    assert find_event(told, told.events[1].event_id[:12]) is told.events[1]
    with pytest.raises(RecordingError, match="give a number from 1 to"):
        find_event(told, "99")


def test_the_picture_is_a_whole_png(told: Told, tmp_path: Path) -> None:
    path = tmp_path / "event.png"
    draw(told, told.events[0], path)
    picture = path.read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert picture.rstrip().endswith(b"IEND\xaeB`\x82")
    assert [one.name for one in tmp_path.iterdir()] == ["event.png"]
