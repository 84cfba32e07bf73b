"""Reason codes of the library, as the bus reports them."""

import mqtt5
import pytest

from shared.bus.mqtt.reason_codes import Reason


@pytest.mark.parametrize(
    ("code", "text", "is_failure"),
    [
        (mqtt5.PubAckReasonCode.SUCCESS, "Success", False),
        (mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS, "No matching subscribers", False),
        (mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE, "Granted qos at least once", False),
        (mqtt5.SubAckReasonCode.UNSPECIFIED_ERROR, "Unspecified error", True),
        (mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD, "Bad user name or password", True),
    ],
)
def test_a_reason_says_what_it_means(code: mqtt5.PubAckReasonCode, text: str, is_failure: bool) -> None:
    reason = Reason.of(code)
    assert (reason.code, str(reason), reason.is_failure) == (code.value, text, is_failure)
