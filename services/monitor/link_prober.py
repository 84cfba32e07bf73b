"""Decides which link of a device is probed when, and keeps the estimates of its links.

A state machine without input and output: methods take events and return the probe to send.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from services.monitor.crossing import LARGER
from services.monitor.link_estimator import LinkEstimator
from services.monitor.probe_budget import ProbeBudget
from shared.link_time import MUCH_FASTER, bytes_within
from shared.messages.devices import LinkEstimate, TransferObservation
from shared.transport_mode import Carrier

# Bounds memory however many device names appear on the broker.
MAX_PEERS: Final = 256


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Times and sizes of probes.

    Attributes:
        idle_s: time without transfers after which a link is probed.
        direct_s: time without transfers after which the estimate of a direct link is dropped.
        unused_s: the time of `idle_s` for a link that no stream could use.
        doubt_s: pause between probes of a link that is new or whose last sample deviated.
        share: largest part of a link's bandwidth that probes may take; slow links are probed less often.
        day_bytes: bytes that probes of a link may take per day while no stream could use it.
        is_metered: whether no probe is sent, and none is answered. Then transfers alone measure the links.
        assumed_mbps: bandwidth of the links of a metered device before their first transfer; None if it is unknown.
        target_ms: desired transmission time of a padded probe, well above the jitter of the scheduler.
        least_bytes: smallest padded probe.
        most_bytes: largest padded probe of a link whose estimate is not contradicted.
        proof_bytes: largest padded probe that proves a new or a much faster link.
        first_bytes: padded probe of a link without an estimate.
        repeats: padded probes in a row, of which the fastest counts; one is enough if it confirms the estimate.
        timeout_s: a tiny probe without an echo is lost after this; a padded one after four times this.
        losses: consecutive lost probes after which a link counts as down.
        jitter: pauses vary at random by up to this part. So monitors that began together do not keep probing each other
            at the same moments.
        yield_s: longest wait for a peer that is probing this device.
    """

    idle_s: float = 2.0
    direct_s: float = 5.0
    unused_s: float = 20.0
    doubt_s: float = 0.2
    share: float = 0.01
    day_bytes: float = 50e6
    is_metered: bool = False
    assumed_mbps: float | None = None
    target_ms: float = 20.0
    least_bytes: int = 2 * 1024
    most_bytes: int = 128 * 1024
    proof_bytes: int = 1024 * 1024
    first_bytes: int = 16 * 1024
    repeats: int = 2
    timeout_s: float = 3.0
    losses: int = 3
    jitter: float = 0.25
    yield_s: float = 0.5


@dataclass(frozen=True, slots=True)
class SendProbe:
    """A probe to send now.

    Attributes:
        target: device whose monitor echoes the probe.
        probe_id: returned in the echo.
        padding_bytes: 0 for a tiny probe.
    """

    target: str
    probe_id: str
    padding_bytes: int


@dataclass(frozen=True, slots=True, order=True)
class _RoundTrip:
    """Time of a probe and its echo, and the part of it in which one of both ends was busy, ms."""

    elapsed_ms: float
    processing_ms: float = 0.0


@dataclass(slots=True)
class _Outstanding:
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
    fastest: "_RoundTrip | None" = None
    left: int = 0


@dataclass(slots=True)
class _Peer:
    """A device that is online, and the link to it.

    Attributes:
        boot_id: of its executor; another one means a restart.
        link: through the broker.
        direct: over direct connections; None without recent transfers on one.
        direct_s: when the last of these was observed.
        due_s: when the next probe is due.
        transfer_s: when the last transfer was observed; none before the first.
        probing_until_s: estimated end of its probes of this device.
        outstanding: the only probe under way to it.
        lost: consecutive lost probes.
        budget: of the probes on the link.
        budget_mbps: the last settled estimate, on which the budget rests; a bound from one overdue transfer is none.
    """

    budget: ProbeBudget
    boot_id: str = ""
    link: LinkEstimator = field(default_factory=LinkEstimator)
    direct: LinkEstimator | None = None
    direct_s: float = 0.0
    due_s: float = 0.0
    transfer_s: float | None = None
    probing_until_s: float = -math.inf
    outstanding: _Outstanding | None = None
    lost: int = 0
    budget_mbps: float | None = None


class LinkProber:
    """The links from this device to every other device that is online. Times are monotonic seconds.

    One round of probes starts with a tiny message, whose round trip is twice the latency. Padded messages follow, whose
    round trip is longer by the transmission time of the padding. The fastest counts, since disturbances only delay.

    Rules:
        - One link is probed at a time, because all links may share one cable.
        - Of two devices only one probes the other at a time. An echo that queues behind a padded probe, or a padded
          probe behind an echo, would make the link look slower.
        - If both begin at the same moment, the device whose name sorts first continues.
        - A link with enough observed transfers is not probed with padding.
        - The probes of a link keep to its budget (`ProbeBudget`), and metered devices neither send nor get any.
        - A probe that is much faster than the estimate is followed by larger ones, up to `proof_bytes`. What passes in
          the burst of a token bucket does not count as bandwidth.

    Invariant: a peer has at most one probe outstanding, and an echo counts only if its `probe_id` is that probe's.
    """

    def __init__(self, device: str, settings: ProbeSettings | None = None) -> None:
        """Begin without peers.

        Args:
            device: name of this device.
            settings: none for the defaults.
        """
        self._device = device
        self._settings = settings or ProbeSettings()
        self._peers: dict[str, _Peer] = {}
        self._monitors: set[str] = set()
        self._streams: set[str] = set()
        self._serial = 0
        # Seeded by name: pauses differ between devices, and a simulation repeats exactly.
        self._random = random.Random(device)

    def device_online(self, device: str, boot_id: str, now_s: float) -> None:
        """Add a device; a restarted one (another `boot_id`) loses its estimates."""
        if device == self._device or (device not in self._peers and len(self._peers) >= MAX_PEERS):
            return
        known = self._peers.get(device)
        if known is None or known.boot_id != boot_id:
            settings = self._settings
            peer = _Peer(ProbeBudget(settings.share, settings.day_bytes), boot_id=boot_id, due_s=now_s)
            if known is not None:
                # A device that restarts again and again gets no more probes than another one.
                peer.budget = known.budget
            if settings.assumed_mbps is not None:
                peer.link.assume(settings.assumed_mbps)
            self._peers[device] = peer

    def device_offline(self, device: str) -> None:
        """Remove a device and the estimates of its link."""
        self._peers.pop(device, None)

    def stream_seen(self, stream: str, *, is_declared: bool) -> None:
        """Record that a stream was declared or withdrawn. Links without any stream are probed rarely."""
        if is_declared and len(self._streams) < MAX_PEERS:
            self._streams.add(stream)
        elif not is_declared:
            self._streams.discard(stream)

    def monitor_online(self, device: str, now_s: float, *, is_metered: bool = False) -> None:
        """Record that a device's monitor can echo probes, unless it is metered."""
        # A monitor may appear before its executor, so it is kept apart from the peers.
        if is_metered:
            self._monitors.discard(device)
        elif len(self._monitors) < MAX_PEERS:
            self._monitors.add(device)
        if (peer := self._peers.get(device)) is not None:
            peer.lost = 0
            peer.due_s = min(peer.due_s, now_s)

    def monitor_offline(self, device: str) -> None:
        """Record that a device's monitor is gone; the estimates of the link stay and follow transfers only."""
        self._monitors.discard(device)
        if (peer := self._peers.get(device)) is not None:
            peer.outstanding = None
            peer.lost = 0

    def observed(self, transfer: TransferObservation, now_s: float) -> bool:
        """Take an observed transfer of the executor; return whether its target is a known device."""
        peer = self._peers.get(transfer.target)
        if peer is None:
            return False
        if transfer.transport is Carrier.DIRECT:
            # Probes take the broker's way, so only transfers tell how fast the direct one is.
            if peer.direct is None:
                peer.direct = LinkEstimator()
            peer.direct_s = now_s
            peer.direct.add_transfer(
                transfer.size_bytes,
                transfer.elapsed_ms,
                finished=transfer.finished,
                ended_s=now_s,
                processing_ms=transfer.processing_ms,
            )
            return True
        peer.link.add_transfer(
            transfer.size_bytes,
            transfer.elapsed_ms,
            finished=transfer.finished,
            ended_s=now_s,
            processing_ms=transfer.processing_ms,
        )
        # A transfer too small to stand out from the noise does not replace a probe.
        if peer.link.is_informative(transfer.size_bytes):
            peer.transfer_s = now_s
        # A finished transfer proves that the link is up, even if probes were lost.
        if transfer.finished:
            peer.lost = 0
        self._plan_next(peer, now_s)
        return True

    def probed(self, sender: str, now_s: float) -> None:
        """Record a probe of another device, and estimate when its round of probes ends."""
        if (peer := self._peers.get(sender)) is not None:
            # The echo travels on the link to the sender.
            peer.budget.spend(0, now_s, peer.budget_mbps, is_used=self._is_used)
            padded_ms = peer.link.expected_ms(self._padding_bytes(peer)) or self._settings.target_ms
            # The padded probe that follows: a round trip, half as long again as expected, and 20 ms of scheduling.
            following_s = (2 * (peer.link.latency_ms or 0.0) + 1.5 * padded_ms + 20.0) / 1000
            peer.probing_until_s = now_s + min(following_s, self._settings.yield_s)

    def echoed(
        self, sender: str, probe_id: str, now_s: float, *, processing_s: float = 0.0, peer_processing_ms: float = 0.0
    ) -> SendProbe | None:
        """Take an echo; return the padded probe that follows in the same round, if any.

        Args:
            sender: of the echo.
            probe_id: as sent.
            now_s: monotonic seconds.
            processing_s: reading of this device's processing clock.
            peer_processing_ms: processing time of the probe at the sender.
        """
        peer = self._peers.get(sender)
        if peer is None or peer.outstanding is None or peer.outstanding.probe_id != probe_id:
            return None
        probe, peer.outstanding, peer.lost = peer.outstanding, None, 0
        elapsed_ms = max(0.0, 1000 * (now_s - probe.sent_s))
        own_ms = max(0.0, 1000 * (processing_s - probe.processing_s))
        trip = _RoundTrip(elapsed_ms, min(own_ms + peer_processing_ms, elapsed_ms))
        if probe.padding_bytes:
            following = self._padded_echoed(peer, probe, trip, now_s)
        else:
            peer.link.add_round_trip(trip.elapsed_ms, processing_ms=trip.processing_ms)
            # Both devices have begun a round: this one yields if the other's name sorts first.
            if peer.probing_until_s > now_s and sender < self._device:
                peer.due_s = peer.probing_until_s
                return None
            following = self._first_padded(peer, now_s)
        if following is not None:
            return self._send(sender, peer, following, now_s, processing_s)
        self._plan_next(peer, now_s)
        return None

    def _first_padded(self, peer: _Peer, now_s: float) -> _Outstanding | None:
        """Return the first padded probe of a row; None if transfers make it unnecessary, or the budget forbids it."""
        if self._is_busy(peer, now_s):
            return None
        padding_bytes = self._padding_bytes(peer)
        claim = peer.link.claim
        if claim is not None:
            padding_bytes = max(padding_bytes, self._proof_bytes(*claim))
        if self._wait_s(peer, padding_bytes, now_s) > 0:
            return None
        return _Outstanding(padding_bytes, left=self._settings.repeats - 1)

    def _padded_echoed(self, peer: _Peer, probe: _Outstanding, trip: _RoundTrip, now_s: float) -> _Outstanding | None:
        """Take the echo of a padded probe; return the next one of its row, or none at the end of the row."""
        link, size_bytes = peer.link, probe.padding_bytes
        fastest = trip if probe.fastest is None else min(trip, probe.fastest)
        larger_bytes = 0 if probe.is_overdue else self._larger_bytes(peer, size_bytes, fastest)
        if larger_bytes > size_bytes and self._wait_s(peer, larger_bytes, now_s) <= 0:
            if link.bandwidth_mbps is not None:
                # The larger one confirms this claim or refutes it.
                link.add_probe(size_bytes, trip.elapsed_ms, ended_s=now_s, processing_ms=trip.processing_ms)
            return _Outstanding(larger_bytes, left=self._settings.repeats - 1)
        is_enough = probe.is_overdue or link.is_confirmed_by(size_bytes, trip.elapsed_ms)
        if probe.left and not is_enough and self._wait_s(peer, size_bytes, now_s) <= 0:
            return _Outstanding(size_bytes, fastest=fastest, left=probe.left - 1)
        # An overdue probe has bounded the estimate already; its own time replaces the bound.
        measured = trip if probe.is_overdue else fastest
        link.add_probe(size_bytes, measured.elapsed_ms, ended_s=now_s, processing_ms=measured.processing_ms)
        return None

    def _larger_bytes(self, peer: _Peer, size_bytes: int, trip: _RoundTrip) -> int:
        """Return the size of the probe that proves a faster link than the estimate; at most `size_bytes` if none is."""
        rate_mbps = peer.link.rate_of_probe_mbps(size_bytes, trip.elapsed_ms)
        known_mbps = peer.link.bandwidth_mbps
        if known_mbps is not None and rate_mbps <= MUCH_FASTER * known_mbps:
            return 0
        wanted_bytes = bytes_within(self._settings.target_ms, rate_mbps)
        return 0 if wanted_bytes <= LARGER * size_bytes else self._proof_bytes(size_bytes, rate_mbps)

    def _proof_bytes(self, size_bytes: int, rate_mbps: float) -> int:
        """Return the size of a probe that proves a rate which a crossing of `size_bytes` claims."""
        wanted_bytes = max(4 * size_bytes, min(bytes_within(self._settings.target_ms, rate_mbps), 16 * size_bytes))
        return round(min(wanted_bytes, self._settings.proof_bytes))

    def tick(self, now_s: float, *, processing_s: float = 0.0) -> SendProbe | None:
        """Drop lost probes; return the probe to send now, if any.

        Args:
            now_s: monotonic seconds.
            processing_s: reading of this device's processing clock.
        """
        for name, peer in self._peers.items():
            self._expire(peer, now_s, processing_s)
            # Probes take the way through the broker. They see how the network changes, an idle direct link does not.
            is_probed = name in self._monitors and peer.link.bandwidth_mbps is not None
            if is_probed and not self._settings.is_metered and now_s - peer.direct_s > self._settings.direct_s:
                peer.direct = None
        if any(self._blocks_others(peer, now_s) for peer in self._peers.values()):
            return None
        waiting = [(peer.due_s, name) for name, peer in self._probeable() if self._due_s(peer) <= now_s]
        if not waiting:
            return None
        # The longest overdue goes first, so that no link starves behind others.
        name = min(waiting)[1]
        return self._send(name, self._peers[name], _Outstanding(), now_s, processing_s)

    def next_tick_s(self, now_s: float) -> float:
        """Return when `tick` should be called at the latest, at most `idle_s` from now."""
        times = [now_s + self._settings.idle_s]
        times += [self._due_s(peer) for _, peer in self._probeable()]
        times += [self._deadline_s(peer) for peer in self._peers.values() if peer.outstanding is not None]
        # A link that is due may have to wait for another one; without a minimum the caller would spin meanwhile.
        return max(now_s + 0.01, min(times))

    def estimates(self) -> tuple[LinkEstimate, ...]:
        """Return the estimates of every link that is up, by target and transport."""
        return tuple(
            LinkEstimate(
                target=name,
                bandwidth_mbps=link.bandwidth_mbps,
                latency_ms=link.latency_ms or 0.0,
                samples=link.samples,
                transport=carrier,
            )
            for name, peer in sorted(self._peers.items())
            for carrier, link in ((Carrier.MQTT, peer.link), (Carrier.DIRECT, peer.direct))
            if link is not None and link.bandwidth_mbps is not None and peer.lost < self._settings.losses
        )

    @property
    def _is_used(self) -> bool:
        return bool(self._streams)

    def _wait_s(self, peer: _Peer, padding_bytes: float, now_s: float) -> float:
        """Return how long the budget makes a probe wait, seconds."""
        if peer.link.is_settled or peer.budget_mbps is None:
            peer.budget_mbps = peer.link.bandwidth_mbps
        return peer.budget.wait_s(
            padding_bytes,
            now_s,
            peer.budget_mbps,
            is_used=self._is_used,
            is_routine=peer.link.is_settled,
        )

    def _probeable(self) -> Iterator[tuple[str, _Peer]]:
        if self._settings.is_metered:
            return
        for name, peer in self._peers.items():
            if name in self._monitors and peer.outstanding is None:
                yield name, peer

    def _due_s(self, peer: _Peer) -> float:
        return max(peer.due_s, peer.probing_until_s)

    def _send(self, name: str, peer: _Peer, probe: _Outstanding, now_s: float, processing_s: float) -> SendProbe:
        self._serial += 1
        probe.probe_id, probe.sent_s = f"{self._device}-{self._serial}", now_s
        probe.processing_s = processing_s
        peer.budget.spend(probe.padding_bytes, now_s, peer.budget_mbps, is_used=self._is_used)
        peer.outstanding = probe
        return SendProbe(name, probe.probe_id, probe.padding_bytes)

    def _padding_bytes(self, peer: _Peer) -> int:
        settings, bandwidth_mbps = self._settings, peer.link.bandwidth_mbps
        if bandwidth_mbps is None:
            return settings.first_bytes
        return round(
            min(max(bytes_within(settings.target_ms, bandwidth_mbps), settings.least_bytes), settings.most_bytes)
        )

    def _is_busy(self, peer: _Peer, now_s: float) -> bool:
        """Return whether observed transfers make padded probes unnecessary."""
        return peer.transfer_s is not None and now_s - peer.transfer_s < self._settings.idle_s and peer.link.is_settled

    def _plan_next(self, peer: _Peer, now_s: float) -> None:
        """Set when the link is probed next: rarely once settled, and never beyond its budget."""
        settings = self._settings
        pause_s = settings.idle_s if self._is_used else settings.unused_s
        if not peer.link.is_settled:
            pause_s = settings.doubt_s
        # A settled link that is not in use gets tiny probes, which show that it is up, between padded ones.
        row_bytes = self._padding_bytes(peer) if self._is_used or not peer.link.is_settled else 0
        pause_s = max(pause_s, self._wait_s(peer, row_bytes, now_s))
        peer.due_s = now_s + pause_s * self._random.uniform(1 - settings.jitter, 1 + settings.jitter)

    def _expire(self, peer: _Peer, now_s: float, processing_s: float) -> None:
        """Treat a probe past its deadline: a padded one is overdue first, then lost; a tiny one is lost."""
        probe = peer.outstanding
        if probe is None or now_s < self._deadline_s(peer):
            return
        elapsed_ms = 1000 * (now_s - probe.sent_s)
        if probe.padding_bytes and elapsed_ms < 4000 * self._settings.timeout_s:
            probe.is_overdue = True
            own_ms = max(0.0, 1000 * (processing_s - probe.processing_s))
            peer.link.add_probe(probe.padding_bytes, elapsed_ms, finished=False, ended_s=now_s, processing_ms=own_ms)
            return
        # After a loss the link is probed again soon; once it counts as down, only as often as an idle link.
        peer.outstanding = None
        peer.lost += 1
        peer.due_s = now_s + (self._settings.doubt_s if peer.lost < self._settings.losses else self._settings.idle_s)

    def _deadline_s(self, peer: _Peer) -> float:
        """Return when the outstanding probe is next overdue or lost."""
        probe = peer.outstanding
        if probe is None:
            return 0.0
        timeout_s = self._settings.timeout_s
        if not probe.padding_bytes:
            return probe.sent_s + timeout_s
        if probe.is_overdue:
            return probe.sent_s + 4 * timeout_s
        expected_ms = peer.link.expected_ms(probe.padding_bytes)
        if expected_ms is None:
            return probe.sent_s + timeout_s
        # Three times the expected time and 50 ms exceed every ordinary disturbance.
        overdue_s = (3 * expected_ms + 2 * (peer.link.latency_ms or 0.0) + 50.0) / 1000
        return probe.sent_s + min(max(overdue_s, 0.1), timeout_s)

    def _blocks_others(self, peer: _Peer, now_s: float) -> bool:
        probe = peer.outstanding
        # A probe that is probably lost must not stop the probes of all other links.
        return probe is not None and now_s - probe.sent_s < self._settings.timeout_s / 3
