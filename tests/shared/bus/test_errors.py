"""Errors of the bus: one tree, one line each, with advice."""

import pytest

from shared.bus import errors
from shared.bus.errors import AccessRefused, BrokerUnreachable, BusError, PublishFailed, SubscriptionFailed


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("[Errno 111] Connection refused", "`segue broker` starts one"),
        ("certificate verify failed", "ca=FILE"),
        ("[Errno -2] Name or service not known", "check the host name"),
        ("timed out", "the listener speaks MQTT 5"),
    ],
)
def test_an_unreachable_broker_comes_with_advice(reason: str, advice: str) -> None:
    error = BrokerUnreachable("mqtt://h:1", reason)
    assert advice in str(error)
    assert reason in str(error)
    assert (error.address, error.reason) == ("mqtt://h:1", reason)


def test_every_error_is_one_line_of_one_tree() -> None:
    examples = (
        BrokerUnreachable("a", "r"),
        AccessRefused("a", "r"),
        PublishFailed("t", "r"),
        errors.PublishForbidden("t", "r"),
        errors.MessageTooLarge("t", "r"),
        errors.SessionLost("s"),
        errors.HandshakeClosed("h"),
        SubscriptionFailed("f", "r"),
        errors.SettingsError("s"),
        errors.DecodeError("d"),
    )
    assert all(isinstance(error, BusError) and "\n" not in str(error) for error in examples)
    classes = {kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__}
    assert {type(error) for error in examples} == classes - {BusError}
