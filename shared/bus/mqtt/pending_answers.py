"""Packets of one connection that the broker has to answer: their identifiers, and futures of the answers."""

import asyncio
from typing import Final

from shared.bus.errors import SessionLost
from shared.bus.mqtt.reason_codes import Reason, ReasonCode

_LAST_PACKET_ID: Final = 65_535


class PendingAnswers:
    """Futures of the broker's answers, by packet identifier.

    PUBLISH, SUBSCRIBE and UNSUBSCRIBE share the identifiers (MQTT 5.0, 2.2.1). An identifier is taken until the broker
    has answered it, also if nobody waits any more.
    """

    def __init__(self) -> None:
        self._answers: dict[int, asyncio.Future[Reason]] = {}
        self._last_packet_id = 0
        self._asked_at_s = 0.0

    def owed_since_s(self) -> float | None:
        """Return since when the broker has owed an answer without a pause; None if it owes none."""
        return self._asked_at_s if self._answers else None

    def new_packet_id(self) -> int:
        """Return an identifier that is free."""
        # Far fewer publications than identifiers are unconfirmed at a time: the session bounds them.
        while True:
            self._last_packet_id = self._last_packet_id % _LAST_PACKET_ID + 1
            if self._last_packet_id not in self._answers:
                return self._last_packet_id

    def expect(self, packet_id: int, now_s: float) -> asyncio.Future[Reason]:
        """Return the future of the answer to a packet, which is sent next."""
        if not self._answers:
            self._asked_at_s = now_s
        answer: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()
        self._answers[packet_id] = answer
        return answer

    def not_sent(self, packet_id: int) -> None:
        """Take back what `expect` was told: the packet was not sent, and its future is not awaited."""
        answer = self._answers.pop(packet_id)
        if answer.done():
            # The end of the connection has failed it too. Retrieved, so that asyncio does not report it as lost.
            answer.exception()

    def resolve(self, packet_id: int, code: ReasonCode) -> None:
        """Pass on the broker's answer to a packet; an unknown identifier is ignored."""
        answer = self._answers.pop(packet_id, None)
        if answer is not None and not answer.done():
            answer.set_result(Reason.of(code))

    def fail(self) -> None:
        """Fail every answer, since the connection has ended: nothing that is not confirmed now ever will be."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(SessionLost("connection lost"))
