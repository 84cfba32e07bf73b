"""Everything decodes to a message or raises MessageError."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.inbound import control_filters, decode
from shared.bus import topics
from shared.messages.base import MessageError
from shared.messages.devices import Emulation, Presence, State, TransferObservation

TOPICS = [
    topics.presence("pi"),
    topics.service_presence("monitor-pi"),
    topics.observations("pi"),
    topics.emulation("pi"),
    topics.probes("pi"),
    "something/else",
]


@given(st.sampled_from(TOPICS), st.binary(max_size=200))
def test_bytes_decode_or_raise_message_error(topic: str, payload: bytes) -> None:
    with contextlib.suppress(MessageError):
        decode(topic, payload)


def test_messages_come_back() -> None:
    transfer = TransferObservation(device="pi", target="server", size_bytes=1, elapsed_ms=1.0)
    assert decode(topics.observations("pi"), transfer.encode()) == transfer


def test_cleared_retained_messages_mean_absence() -> None:
    assert decode(topics.presence("pi"), b"") == Presence(device="pi", state=State.OFFLINE)
    assert decode(topics.emulation("pi"), b"") == Emulation(device="pi")
    assert decode(topics.service_presence("monitor-pi"), b"") is None


def test_only_emulated_devices_listen_to_emulation() -> None:
    assert topics.emulation("pi") in control_filters("pi", emulated=True)
    assert topics.emulation("pi") not in control_filters("pi", emulated=False)


def test_an_unknown_topic_is_refused() -> None:
    with pytest.raises(MessageError):
        decode("devices/pi/inbox", b"{}")
