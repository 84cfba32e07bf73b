"""The state of a fleet as its messages build it up."""

import pytest

from shared.bus import topics
from shared.messages.streams import StreamDeclaration
from tests.support.fleet_views import VIEWED_MODEL, whole_view, with_message


def test_every_kind_of_message_finds_its_place() -> None:
    view = whole_view()
    device, stream = view.devices["pi"], view.streams["s"]
    assert (device.is_online, device.load_factor, view.devices["tv"].is_online) == (True, 2.5, False)
    assert device.profiles.keys() == {VIEWED_MODEL}
    assert (view.model_name(VIEWED_MODEL), view.model_name("squeezenet-of-the-door")) == (
        "squeezenet",
        "squeezenet-of-the-door",
    )
    assert (stream.results, stream.errors) == (1, 0)
    assert list(stream.latencies_ms) == pytest.approx([50])
    assert stream.plan is not None
    assert stream.usage is not None
    assert stream.status is not None
    assert view.undecodable == 0


def test_removed_messages_are_forgotten() -> None:
    view = whole_view()
    with_message(view, topics.manifest(VIEWED_MODEL), b"")
    with_message(view, topics.profiles("pi", VIEWED_MODEL), b"")
    with_message(view, topics.plan("s"), b"")
    with_message(view, topics.stream("s"), StreamDeclaration(stream="s", model="", source="pi").encode())
    assert (view.model_name(VIEWED_MODEL), view.devices["pi"].profiles) == (VIEWED_MODEL[:12], {})
    assert (view.streams["s"].plan, view.streams["s"].declaration) == (None, None)


def test_what_does_not_decode_is_counted_and_changes_nothing() -> None:
    view = whole_view()
    with_message(view, topics.telemetry("pi"), b"\xff\x00")
    with_message(view, "a/topic/of/others", b"")
    assert view.undecodable == 1
    assert view.devices["pi"].load_factor == 2.5
