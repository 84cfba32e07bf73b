"""One way to a device that is probed: its estimate, its outstanding probe, and the sizes of the next ones."""

import math
from dataclasses import dataclass, field

from services.monitor.crossing import LARGER
from services.monitor.link_estimator import LinkEstimator
from services.monitor.probe_budget import ProbeBudget
from services.monitor.probe_settings import ProbeSettings
from shared.link_time import MUCH_FASTER, bytes_within
from shared.messages.devices import TransferObservation
from shared.transport_mode import Carrier


@dataclass(frozen=True, slots=True, order=True)
class RoundTrip:
    """Time of a probe and its echo, and the part of it in which one of both ends was busy, ms."""

    elapsed_ms: float
    processing_ms: float = 0.0


@dataclass(slots=True)
class OutstandingProbe:
    """A probe without an echo so far.

    Attributes:
        processing_s: reading of the processing clock when it was sent.
        fastest: shortest round trip of the padded probes before it in its row.
        left: padded probes that follow it in its row.
    """

    padding_bytes: int = 0
    probe_id: str = ""
    sent_s: float = 0.0
    processing_s: float = 0.0
    is_overdue: bool = False
    fastest: RoundTrip | None = None
    left: int = 0


@dataclass(slots=True)
class ProbedPeer:
    """One way to a device that is online.

    Attributes:
        settings: times and sizes of probes.
        budget: of the probes on the link, all its ways together.
        device: at the other end.
        carrier: what carries the probes and feature maps of this way.
        boot_id: of the device's executor; another one means a restart.
        link: the estimate.
        due_s: when the next probe is due.
        transfer_s: when the last transfer was observed; none before the first.
        probing_until_s: estimated end of the device's probes of this one.
        outstanding: the only probe under way.
        lost: consecutive lost probes.
        doubts: rounds of probes in a row that left the estimate unsettled.
        budget_mbps: the last settled estimate, on which the budget rests; a bound from one overdue transfer is none.
    """

    settings: ProbeSettings
    budget: ProbeBudget
    device: str
    carrier: Carrier = Carrier.MQTT
    boot_id: str = ""
    link: LinkEstimator = field(default_factory=LinkEstimator)
    due_s: float = 0.0
    transfer_s: float | None = None
    probing_until_s: float = -math.inf
    outstanding: OutstandingProbe | None = None
    lost: int = 0
    doubts: int = 0
    budget_mbps: float | None = None

    def assume(self) -> None:
        """Begin with the bandwidth that the settings assume, if any."""
        if self.settings.assumed_mbps is not None:
            self.link.assume(self.settings.assumed_mbps)

    def observed(self, transfer: TransferObservation, now_s: float) -> None:
        """Take an observed transfer on this way."""
        self.link.add_transfer(
            transfer.size_bytes,
            transfer.elapsed_ms,
            finished=transfer.finished,
            ended_s=now_s,
            processing_ms=transfer.processing_ms,
        )
        # A transfer too small to stand out from the noise does not replace a probe.
        if self.link.is_informative(transfer.size_bytes):
            self.transfer_s = now_s
        # A finished transfer proves that the link is up, even if probes were lost. An overdue one is a new doubt.
        if transfer.finished:
            self.lost = 0
        else:
            self.doubts = 0

    def answered(self, probe_id: str) -> OutstandingProbe | None:
        """Take an answer to a probe: return the probe, which is outstanding no more; None if it was not outstanding."""
        probe = self.outstanding
        if probe is None or probe.probe_id != probe_id:
            return None
        self.outstanding = None
        return probe

    @property
    def target_ms(self) -> float:
        """The desired transmission time of a padded probe: it has to stand out from the latency."""
        return max(self.settings.target_ms, self.link.latency_ms or 0.0)

    def spend(self, padding_bytes: int, now_s: float, *, is_used: bool) -> None:
        """Count a message to this device; `is_used` says whether a stream could use the link."""
        self.budget.spend(padding_bytes, now_s, self.budget_mbps, is_used=is_used)

    def wait_s(self, padding_bytes: float, now_s: float, *, is_used: bool) -> float:
        """Return how long the budget makes a probe wait, in seconds."""
        if self.link.is_settled or self.budget_mbps is None:
            self.budget_mbps = self.link.bandwidth_mbps
        return self.budget.wait_s(
            padding_bytes, now_s, self.budget_mbps, is_used=is_used, is_routine=self.link.is_settled
        )

    def is_busy(self, now_s: float) -> bool:
        """Return whether observed transfers make padded probes unnecessary."""
        return self.transfer_s is not None and now_s - self.transfer_s < self.settings.idle_s and self.link.is_settled

    def padding_bytes(self) -> int:
        """Return the size of a padded probe that takes `target_ms` at the estimate."""
        settings, bandwidth_mbps = self.settings, self.link.probed_mbps
        if bandwidth_mbps is None:
            return settings.first_bytes
        return round(min(max(bytes_within(self.target_ms, bandwidth_mbps), settings.least_bytes), settings.most_bytes))

    def first_padding_bytes(self) -> int:
        """Return the size of the first padded probe of a row, larger if transfers claim a much faster link."""
        claim = self.link.claim
        return self.padding_bytes() if claim is None else max(self.padding_bytes(), self._proof_bytes(*claim))

    def larger_bytes(self, size_bytes: int, trip: RoundTrip) -> int:
        """Return the size of the probe that proves a faster link than the estimate; at most `size_bytes` if none is."""
        rate_mbps = self.link.rate_of_probe_mbps(size_bytes, trip.elapsed_ms)
        known_mbps = self.link.bandwidth_mbps
        if known_mbps is not None and rate_mbps <= MUCH_FASTER * known_mbps:
            return 0
        wanted_bytes = bytes_within(self.target_ms, rate_mbps)
        return 0 if wanted_bytes <= LARGER * size_bytes else self._proof_bytes(size_bytes, rate_mbps)

    def deadline_s(self) -> float:
        """Return when the outstanding probe is next overdue or lost."""
        probe, timeout_s = self.outstanding, self.settings.timeout_s
        if probe is None:
            return 0.0
        if not probe.padding_bytes:
            return probe.sent_s + timeout_s
        if probe.is_overdue:
            return probe.sent_s + 4 * timeout_s
        expected_ms = self.link.expected_ms(probe.padding_bytes)
        if expected_ms is None:
            return probe.sent_s + timeout_s
        # Three times the expected time and 50 ms exceed every ordinary disturbance.
        overdue_s = (3 * expected_ms + 2 * (self.link.latency_ms or 0.0) + 50.0) / 1000
        return probe.sent_s + min(max(overdue_s, 0.1), timeout_s)

    def _proof_bytes(self, size_bytes: int, rate_mbps: float) -> int:
        """Return the size of a probe that proves a rate which a crossing of `size_bytes` claims."""
        wanted_bytes = max(4 * size_bytes, min(bytes_within(self.target_ms, rate_mbps), 16 * size_bytes))
        return round(min(wanted_bytes, self.settings.proof_bytes))
