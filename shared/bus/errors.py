"""The errors of the bus, one tree.

BusError
├── BrokerUnreachable     nobody answers at the address (or not in MQTT 5, or not over this TLS)
├── AccessRefused         the broker answers and says no: account, password, or access rule
├── PublishFailed         a message was not confirmed in time, is too large, or was rejected
├── SubscriptionFailed    a subscription was not confirmed in time
├── SettingsError         an address or a setting that cannot be right
└── DecodeError           bytes from outside that are not what they claim to be: the peer's fault
"""


class BusError(Exception):
    """Anything that goes wrong on the message bus."""


class BrokerUnreachable(BusError):
    """No MQTT 5 broker answers at an address.

    Attributes:
        address: where it was looked for, never with a password.
        reason: what the operating system, TLS or the handshake said.
    """

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"no MQTT 5 broker reachable at {address}: {reason} ({_advice(reason)})")


class AccessRefused(BusError):
    """The broker refuses this client: wrong account or password, or no permission.

    Attributes:
        address: the broker, never with a password.
        reason: the broker's reason.
        is_certain: the broker said so. False if it only hung up, as rumqttd does for a wrong password.
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
        reason: why not.
    """

    def __init__(self, topic: str, reason: str) -> None:
        self.topic = topic
        self.reason = reason
        super().__init__(f"could not publish on {topic}: {reason}")


class SubscriptionFailed(BusError):
    """A subscription was not confirmed in time; it stays remembered and is tried again on every reconnect."""

    def __init__(self, topic_filter: str, reason: str) -> None:
        self.topic_filter = topic_filter
        self.reason = reason
        super().__init__(f"could not subscribe to {topic_filter}: {reason}")


class SettingsError(BusError, ValueError):
    """An address or setting of the bus that cannot be right."""


class DecodeError(BusError, ValueError):
    """Bytes from outside that do not decode. The only error that decoding raises."""


def _advice(reason: str) -> str:
    lowered = reason.lower()
    if "refused" in lowered:
        return "is a broker running there? `segue broker` starts one"
    if "certificate" in lowered or "ssl" in lowered or "tls" in lowered:
        return "check the certificate authority: mqtts://HOST:PORT?ca=FILE"
    if "name" in lowered or "address info" in lowered:
        return "check the host name"
    return "check host, port, firewall, and that the listener speaks MQTT 5"
