"""What comes back on direct connections: receipts, and the loss of a connection with what was on it."""

from dataclasses import dataclass

from services.executor.direct_probes import DirectProbes
from services.executor.lane_sender import LaneSender, SentAttempt
from services.executor.observations import ObservationFeed
from services.executor.outbox import Outbox
from services.executor.transfers import TransferLedger
from shared.bus import topics
from shared.direct.direct_transport import DirectLoss, DirectReceipt, DirectTransport
from shared.messages.devices import DamageReport, Receipt
from shared.messages.requests import FeatureMapHeader


@dataclass(frozen=True, slots=True)
class DirectAnswers:
    """Reads the answers to the frames that this device has sent directly.

    Attributes:
        direct: delivers them.
        ledger: transfers that await their receipt.
        observations: measurements of this device.
        outbox: tells sources that a transfer may be lost.
        probes: measure the links.
        lane: knows which small feature maps may be lost.
    """

    direct: DirectTransport
    ledger: TransferLedger
    observations: ObservationFeed
    outbox: Outbox
    probes: DirectProbes
    lane: LaneSender

    async def run(self) -> None:
        """Handle answers until cancelled."""
        async for answer in self.direct.answers():
            match answer:
                case DirectReceipt() if self.probes.receipt(answer):
                    pass
                case DirectReceipt(receiver=receiver, transfer_id=transfer_id):
                    self.lane.received(transfer_id, receiver)
                    observation = self.ledger.received(
                        transfer_id, receiver, answer.at_s, processing_ms=answer.processing_ms
                    )
                    if observation is not None:
                        await self.observations.publish(observation)
                case DirectLoss(receiver=receiver):
                    self.probes.lost(receiver)
                    await self._report_lost(receiver)

    async def _report_lost(self, receiver: str) -> None:
        """Ask the sources to try the requests again whose feature maps had been sent and not acknowledged.

        A source would find out by itself, but only after the timeout of the attempt. A feature map that did arrive is
        computed twice; its request still has one outcome.
        """
        attempts: list[FeatureMapHeader | SentAttempt] = [*self.ledger.lost(receiver), *self.lane.lost(receiver)]
        for sent in attempts:
            lost = DamageReport(
                stream=sent.stream,
                request_id=sent.request_id,
                attempt=sent.attempt,
                reason=f"the direct connection of {self.outbox.device} to {receiver} ended",
            )
            receipt = Receipt(transfer_id=sent.transfer_id, receiver=receiver, refused=lost)
            await self.outbox.publish_best_effort(topics.receipts(sent.source), receipt.encode())
