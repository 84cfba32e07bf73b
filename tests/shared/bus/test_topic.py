"""Topics as values: their spelling, their filters, and what is known of them."""

import inspect

import pytest

from shared.bus.roles import Reach, Role
from shared.bus.topic import Topic, defined


@defined(
    sender="a",
    receivers="b",
    publishers={Role.PLANNER: Reach.ANY},
    subscribers={Role.DEVICE: Reach.OWN},
    summary="Chunks.",
    qos=0,
    retained=True,
)
def chunks(model: str, receiver: str) -> str:
    """Return the topic of chunks."""
    return f"models/{model}/chunks/{receiver}"


def test_a_topic_is_spelled_in_three_ways() -> None:
    assert chunks("m", "pi") == chunks(model="m", receiver="pi") == "models/m/chunks/pi"
    assert chunks.any == "models/+/chunks/+"
    assert chunks.template == "models/{model}/chunks/{receiver}"
    assert repr(chunks) == "Topic('models/{model}/chunks/{receiver}')"


def test_what_was_defined_can_be_read() -> None:
    assert isinstance(chunks, Topic)
    assert (chunks.name, chunks.parameters) == ("chunks", ("model", "receiver"))
    assert (chunks.sender, chunks.receivers, chunks.summary) == ("a", "b", "Chunks.")
    assert (chunks.qos, chunks.retained) == (0, True)
    assert dict(chunks.publishers) == {Role.PLANNER: Reach.ANY}
    assert dict(chunks.subscribers) == {Role.DEVICE: Reach.OWN}
    assert inspect.getdoc(chunks) == "Return the topic of chunks."


def test_a_missing_name_is_refused() -> None:
    with pytest.raises(TypeError, match="receiver"):
        chunks("m")  # type: ignore[call-arg]
