"""Counters of a connection."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Messages that went through a connection, and messages that were dropped.

    Changed only by the connection, and only upwards.

    Attributes:
        published: messages handed to the broker (QoS 1: confirmed).
        published_bytes: their payloads.
        received: messages that came in.
        received_bytes: their payloads.
        reconnects: times the connection was made again after a loss.
        dropped_offline: publications of QoS 0 dropped because there was no connection.
        dropped_undecodable: messages dropped because their topic is not text.
    """

    published: int = 0
    published_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    reconnects: int = 0
    dropped_offline: int = 0
    dropped_undecodable: int = 0
