"""Errors of the bus.

BusError
├── BrokerUnreachable     no MQTT 5 broker answers at the address, over this TLS
├── AccessRefused         the broker refuses the account, the password, or the access
├── PublishFailed         a message was not confirmed in time, is too large, or was rejected
│   ├── PublishForbidden  the account has no right to publish on the topic
│   └── MessageTooLarge   the broker, or the settings, allow no message of this size
├── SubscriptionFailed    a subscription was not confirmed in time
├── ModelTransferError    a model file could not be fetched (shared.bus.model_files.model_transfer)
├── SettingsError         an address or a setting is invalid (also a ValueError)
├── SessionLost           a connection ended; stays inside shared.bus
├── HandshakeClosed       the broker did not answer CONNECT; stays inside shared.bus
└── DecodeError           received bytes are malformed: the fault of their sender (also a ValueError)
"""


class BusError(Exception):
    """Base class of all errors of the message bus."""


class BrokerUnreachable(BusError):
    """No MQTT 5 broker answers at an address.

    Attributes:
        address: without the password.
        reason: text of the operating system, of TLS or of the handshake.
    """

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"no MQTT 5 broker reachable at {address}: {reason} ({_advice(reason)})")


class AccessRefused(BusError):
    """The broker refuses this client because of its account, its password or its access rules.

    Attributes:
        address: of the broker, without the password.
        reason: the broker's reason.
        is_certain: the broker stated the reason. False if it only closed the connection, as rumqttd does for a
            wrong password.
    """

    def __init__(self, address: str, reason: str, *, is_certain: bool = True) -> None:
        self.address = address
        self.reason = reason
        self.is_certain = is_certain
        super().__init__(f"the broker at {address} refuses access: {reason} (check user name, password and ACL)")


class PublishFailed(BusError):
    """A message did not reach the broker.

    Attributes:
        topic: the topic below the root.
        reason: the cause.
    """

    def __init__(self, topic: str, reason: str) -> None:
        self.topic = topic
        self.reason = reason
        super().__init__(f"could not publish on {topic}: {reason}")


class PublishForbidden(PublishFailed):
    """The broker's access rules do not allow this client to publish on a topic."""


class MessageTooLarge(PublishFailed):
    """A message is larger than the broker or the settings allow. A later attempt ends the same way."""


class SubscriptionFailed(BusError):
    """A subscription was not confirmed in time. It is requested again on every reconnect.

    Attributes:
        topic_filter: the filter below the root.
        reason: the cause.
    """

    def __init__(self, topic_filter: str, reason: str) -> None:
        self.topic_filter = topic_filter
        self.reason = reason
        super().__init__(f"could not subscribe to {topic_filter}: {reason}")


class SettingsError(BusError, ValueError):
    """An address or a setting of the bus is invalid."""


class DecodeError(BusError, ValueError):
    """Received bytes are malformed. Decoders raise no other error for them."""


class SessionLost(BusError):
    """The connection is lost. This error never leaves `shared.bus`: `Connection` turns it into a retry."""


class HandshakeClosed(BusError):
    """The broker closed the connection instead of answering CONNECT. This error never leaves `shared.bus`."""


def _advice(reason: str) -> str:
    lowered = reason.lower()
    if "refused" in lowered:
        return "is a broker running there? `segue broker` starts one"
    if "clock" in lowered:
        return "set the clock if it is wrong: connecting goes on by itself; else renew the broker's certificate"
    if "certificate" in lowered or "ssl" in lowered or "tls" in lowered:
        return "check the certificate authority: mqtts://HOST:PORT?ca=FILE"
    if "name" in lowered or "address info" in lowered:
        return "check the host name"
    return "check host, port, firewall, and that the listener speaks MQTT 5"
