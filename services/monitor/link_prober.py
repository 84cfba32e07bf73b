"""Decides which link of a device is probed when, and keeps the estimates of its links.

A state machine without input and output: methods take events and return the probe to send.
"""

import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from services.monitor.probe_budget import ProbeBudget
from services.monitor.probe_settings import ProbeSettings, SendProbe
from services.monitor.probed_peer import OutstandingProbe, ProbedPeer, RoundTrip
from shared.messages.devices import DirectEcho, LinkEstimate, TransferObservation
from shared.transport_mode import Carrier

# Bounds memory however many device names appear on the broker.
MAX_PEERS: Final = 256


@dataclass(frozen=True, slots=True)
class _Device:
    """Another device that is online.

    Attributes:
        boot_id: of its executor; another one means a restart.
        is_direct: whether it takes feature maps over direct connections.
    """

    boot_id: str
    is_direct: bool


class LinkProber:
    """The links from this device to every other device that is online. Times are monotonic seconds.

    A link has a way through the broker, and one over direct connections where both devices have them. Each is probed
    and estimated by itself. In force is the direct one, as long as its probes come back, else the one through the
    broker. The other one is probed as rarely as an unused link.

    One round of probes starts with a tiny message, whose round trip is twice the latency. Padded messages follow, whose
    round trip is longer by the transmission time of the padding. The fastest counts, since disturbances only delay.

    Rules:
        - One link is probed at a time, because all links may share one cable.
        - Of two devices only one probes the other at a time. An echo that queues behind a padded probe, or a padded
          probe behind an echo, would make the link look slower.
        - If both begin at the same moment, the device whose name sorts first continues.
        - A link with enough observed transfers is not probed with padding.
        - The probes of a link, of both its ways together, keep to its budget (`ProbeBudget`). Metered devices neither
          send nor get any.
        - A probe that is much faster than the estimate is followed by larger ones, up to `proof_bytes`. What passes in
          the burst of a token bucket does not count as bandwidth.

    Attributes:
        has_expired: whether the last `tick` found a probe overdue or lost, which may have changed the estimates.

    Invariant: a way has at most one probe outstanding, and an echo counts only if its `probe_id` is that probe's.
    """

    def __init__(self, device: str, settings: ProbeSettings | None = None) -> None:
        """Begin without peers.

        Args:
            device: name of this device.
            settings: none for the defaults.
        """
        self._device = device
        self._settings = settings or ProbeSettings()
        self._is_direct = False
        self._devices: dict[str, _Device] = {}
        self._ways: dict[tuple[str, Carrier], ProbedPeer] = {}
        self._monitors: set[str] = set()
        self._streams: set[str] = set()
        self._budgets: dict[str, ProbeBudget] = {}
        self._serial = 0
        self.has_expired = False
        # Seeded by name: pauses differ between devices, and a simulation repeats exactly.
        self._random = random.Random(device)

    def device_online(
        self, device: str, boot_id: str, now_s: float, *, transports: Collection[str] = (Carrier.MQTT.value,)
    ) -> None:
        """Add a device, this one included; a restarted one (another `boot_id`) loses its estimates.

        Args:
            device: its name.
            boot_id: new at every start of its executor.
            now_s: monotonic seconds.
            transports: of feature maps that it sends and takes.
        """
        is_direct = Carrier.DIRECT.value in transports
        if device == self._device:
            self._is_direct = is_direct
            self._open_ways(self._devices, now_s)
        elif device in self._devices or len(self._devices) < MAX_PEERS:
            self._devices[device] = _Device(boot_id, is_direct)
            self._open_ways((device,), now_s)

    def device_offline(self, device: str) -> None:
        """Remove a device and the estimates of its link. Without its own executor this device has no direct ways."""
        self._devices.pop(device, None)
        for way in list(self._ways.values()):
            if way.device == device or (device == self._device and way.carrier is Carrier.DIRECT):
                del self._ways[way.device, way.carrier]
        self._is_direct = self._is_direct and device != self._device

    def stream_seen(self, stream: str, now_s: float, *, is_declared: bool) -> None:
        """Record that a stream was declared or withdrawn. Links without any stream are probed rarely."""
        if is_declared and len(self._streams) < MAX_PEERS:
            if not self._streams:
                for peer in self._ways.values():
                    peer.due_s = min(peer.due_s, now_s + self._settings.idle_s)
            self._streams.add(stream)
        elif not is_declared:
            self._streams.discard(stream)

    def monitor_online(self, device: str, now_s: float, *, is_metered: bool = False) -> None:
        """Record that a device's monitor can echo probes, unless it is metered.

        Executors echo direct probes. They do not know whether their device is metered, so these need the monitor, too.
        """
        # A monitor may appear before its executor, so it is kept apart from the peers.
        if is_metered:
            self._monitors.discard(device)
        elif len(self._monitors) < MAX_PEERS:
            self._monitors.add(device)
        for peer in self._ways_to(device):
            peer.lost = 0
            peer.due_s = min(peer.due_s, now_s)

    def monitor_offline(self, device: str) -> None:
        """Record that a device's monitor is gone; the estimates of the link stay and follow transfers only."""
        self._monitors.discard(device)
        for peer in self._ways_to(device):
            peer.outstanding = None
            peer.lost = 0

    def observed(self, transfer: TransferObservation, now_s: float) -> bool:
        """Take an observed transfer of the executor; return whether its way is known."""
        peer = self._ways.get((transfer.target, transfer.transport))
        if peer is None:
            return False
        peer.observed(transfer, now_s)
        self._plan_next(peer, now_s)
        return True

    def probed(self, sender: str, now_s: float) -> None:
        """Record a probe of another device, and estimate when its round of probes ends."""
        if (peer := self._ways.get((sender, Carrier.MQTT))) is not None:
            # The echo travels on the link to the sender.
            peer.spend(0, now_s, is_used=self._is_used(peer))
            padded_ms = peer.link.expected_ms(peer.padding_bytes()) or self._settings.target_ms
            # The padded probe that follows: a round trip, half as long again as expected, and 20 ms of scheduling.
            following_s = (2 * (peer.link.latency_ms or 0.0) + 1.5 * padded_ms + 20.0) / 1000
            until_s = now_s + min(following_s, self._settings.yield_s)
            for way in self._ways_to(sender):
                way.probing_until_s = until_s

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
        peer = self._ways.get((sender, Carrier.MQTT))
        if peer is None or (probe := peer.answered(probe_id)) is None:
            return None
        elapsed_ms = max(0.0, 1000 * (now_s - probe.sent_s))
        own_ms = max(0.0, 1000 * (processing_s - probe.processing_s))
        trip = RoundTrip(elapsed_ms, min(own_ms + peer_processing_ms, elapsed_ms))
        return self._measured(peer, probe, trip, now_s, processing_s)

    def echoed_directly(self, echo: DirectEcho, now_s: float, *, processing_s: float = 0.0) -> SendProbe | None:
        """Take what has become of a direct probe; return the padded probe that follows in the same round, if any."""
        peer = self._ways.get((echo.target, Carrier.DIRECT))
        if peer is None or (probe := peer.answered(echo.probe_id)) is None:
            return None
        if echo.elapsed_ms is None:
            self._lose(peer, now_s)
            return None
        trip = RoundTrip(echo.elapsed_ms, min(echo.processing_ms, echo.elapsed_ms))
        return self._measured(peer, probe, trip, now_s, processing_s)

    def _measured(
        self, peer: ProbedPeer, probe: OutstandingProbe, trip: RoundTrip, now_s: float, processing_s: float
    ) -> SendProbe | None:
        """Take the round trip of a probe; return the one that follows in the same round, if any."""
        peer.lost = 0
        if probe.padding_bytes:
            following = self._padded_echoed(peer, probe, trip, now_s)
        else:
            peer.link.add_round_trip(trip.elapsed_ms, processing_ms=trip.processing_ms)
            # Both devices have begun a round: this one yields if the other's name sorts first.
            if peer.probing_until_s > now_s and peer.device < self._device:
                peer.due_s = peer.probing_until_s
                return None
            following = self._first_padded(peer, now_s)
        if following is not None:
            return self._send(peer, following, now_s, processing_s)
        peer.doubts = 0 if peer.link.is_settled else peer.doubts + 1
        self._plan_next(peer, now_s)
        return None

    def _first_padded(self, peer: ProbedPeer, now_s: float) -> OutstandingProbe | None:
        """Return the first padded probe of a row; None if transfers make it unnecessary, or the budget forbids it."""
        padding_bytes = peer.first_padding_bytes()
        if peer.is_busy(now_s) or not self._may_send(peer, padding_bytes, now_s):
            return None
        return OutstandingProbe(padding_bytes, left=self._settings.repeats - 1)

    def _padded_echoed(
        self, peer: ProbedPeer, probe: OutstandingProbe, trip: RoundTrip, now_s: float
    ) -> OutstandingProbe | None:
        """Take the echo of a padded probe; return the next one of its row, or none at the end of the row."""
        link, size_bytes = peer.link, probe.padding_bytes
        fastest = trip if probe.fastest is None else min(trip, probe.fastest)
        larger_bytes = 0 if probe.is_overdue else peer.larger_bytes(size_bytes, fastest)
        may_prove = larger_bytes > size_bytes and self._may_send(peer, larger_bytes, now_s)
        if larger_bytes > size_bytes and not may_prove and link.bandwidth_mbps is not None:
            # A claim that the budget cannot prove now is none, however often it is repeated.
            return None
        if may_prove:
            if link.bandwidth_mbps is not None:
                # The larger one confirms this claim or refutes it.
                link.add_probe(size_bytes, trip.elapsed_ms, ended_s=now_s, processing_ms=trip.processing_ms)
            return OutstandingProbe(larger_bytes, left=self._settings.repeats - 1)
        is_enough = probe.is_overdue or link.is_confirmed_by(size_bytes, trip.elapsed_ms)
        if probe.left and not is_enough and self._may_send(peer, size_bytes, now_s):
            return OutstandingProbe(size_bytes, fastest=fastest, left=probe.left - 1)
        # An overdue probe has bounded the estimate already; its own time replaces the bound.
        measured = trip if probe.is_overdue else fastest
        link.add_probe(size_bytes, measured.elapsed_ms, ended_s=now_s, processing_ms=measured.processing_ms)
        return None

    def tick(self, now_s: float, *, processing_s: float = 0.0) -> SendProbe | None:
        """Drop lost probes; return the probe to send now, if any.

        Args:
            now_s: monotonic seconds.
            processing_s: reading of this device's processing clock.
        """
        overdue = [peer for peer in self._ways.values() if peer.outstanding and now_s >= peer.deadline_s()]
        self.has_expired = bool(overdue)
        for peer in overdue:
            self._expire(peer, now_s, processing_s)
        if any(self._blocks_others(peer, now_s) for peer in self._ways.values()):
            return None
        waiting = [peer for peer in self._probeable() if self._due_s(peer) <= now_s]
        if not waiting:
            return None
        # The longest overdue goes first, so that no link starves behind others.
        peer = min(waiting, key=lambda way: (way.due_s, way.device, way.carrier))
        return self._send(peer, OutstandingProbe(), now_s, processing_s)

    def next_tick_s(self, now_s: float) -> float:
        """Return when `tick` should be called at the latest, at most `idle_s` from now."""
        times = [now_s + self._settings.idle_s]
        times += [self._due_s(peer) for peer in self._probeable()]
        times += [peer.deadline_s() for peer in self._ways.values() if peer.outstanding is not None]
        # A link that is due may have to wait for another one; without a minimum the caller would spin meanwhile.
        return max(now_s + 0.01, min(times))

    def estimates(self) -> tuple[LinkEstimate, ...]:
        """Return the estimates of every known way, by target and transport; one that is down has bandwidth 0.

        A link that is left out would be taken for one in the other direction, whose estimate may be old.
        """
        ways = sorted(self._ways.values(), key=lambda way: (way.device, way.carrier is Carrier.DIRECT))
        return tuple(
            LinkEstimate(
                target=way.device,
                bandwidth_mbps=bandwidth_mbps,
                latency_ms=way.link.latency_ms or 0.0,
                samples=way.link.samples,
                transport=way.carrier,
            )
            for way in ways
            if (bandwidth_mbps := 0.0 if self._is_down(way) else way.link.bandwidth_mbps) is not None
        )

    def _open_ways(self, devices: Iterable[str], now_s: float) -> None:
        """Add the ways to these devices that are new or lead to a restarted device; remove those that are no more."""
        for name in devices:
            device = self._devices[name]
            for carrier in Carrier:
                if carrier is Carrier.DIRECT and not (self._is_direct and device.is_direct):
                    self._ways.pop((name, carrier), None)
                    continue
                known = self._ways.get((name, carrier))
                if known is None or known.boot_id != device.boot_id:
                    self._ways[name, carrier] = self._new_way(name, carrier, device.boot_id, now_s)

    def _new_way(self, device: str, carrier: Carrier, boot_id: str, now_s: float) -> ProbedPeer:
        settings = self._settings
        if len(self._budgets) >= MAX_PEERS:
            self._budgets = {name: each for name, each in self._budgets.items() if name in self._devices}
        # Kept for a device that comes and goes: it gets no more probes than another one.
        budget = self._budgets.setdefault(device, ProbeBudget(settings.share, settings.day_bytes))
        way = ProbedPeer(settings, budget, device, carrier, boot_id=boot_id, due_s=now_s)
        way.assume()
        return way

    def _ways_to(self, device: str) -> Iterator[ProbedPeer]:
        for carrier in Carrier:
            if (way := self._ways.get((device, carrier))) is not None:
                yield way

    def _is_used(self, peer: ProbedPeer) -> bool:
        """Return whether a stream could use a way."""
        if not self._streams:
            return False
        direct = self._ways.get((peer.device, Carrier.DIRECT))
        is_direct = direct is not None and not self._is_down(direct)
        return is_direct == (peer.carrier is Carrier.DIRECT)

    def _is_down(self, peer: ProbedPeer) -> bool:
        return peer.lost >= self._settings.losses

    def _may_send(self, peer: ProbedPeer, padding_bytes: int, now_s: float) -> bool:
        return peer.wait_s(padding_bytes, now_s, is_used=self._is_used(peer)) <= 0

    def _probeable(self) -> Iterator[ProbedPeer]:
        if self._settings.is_metered:
            return
        for peer in self._ways.values():
            if peer.device in self._monitors and peer.outstanding is None:
                yield peer

    def _due_s(self, peer: ProbedPeer) -> float:
        return max(peer.due_s, peer.probing_until_s)

    def _send(self, peer: ProbedPeer, probe: OutstandingProbe, now_s: float, processing_s: float) -> SendProbe:
        self._serial += 1
        probe.probe_id, probe.sent_s = f"{self._device}-{self._serial}", now_s
        probe.processing_s = processing_s
        peer.spend(probe.padding_bytes, now_s, is_used=self._is_used(peer))
        peer.outstanding = probe
        return SendProbe(peer.device, probe.probe_id, probe.padding_bytes, peer.carrier)

    def _plan_next(self, peer: ProbedPeer, now_s: float) -> None:
        """Set when the way is probed next: rarely once settled, and never beyond its budget."""
        settings, is_used = self._settings, self._is_used(peer)
        pause_s = settings.idle_s if is_used else settings.unused_s
        if not peer.link.is_settled:
            # A link whose samples keep deviating is noisy. It is not worth a probe every 0.2 s for ever.
            pause_s = min(settings.idle_s, settings.doubt_s * 2 ** max(0, peer.doubts - settings.doubts))
        # A settled link that is not in use gets tiny probes, which show that it is up, between padded ones.
        row_bytes = peer.padding_bytes() if is_used or not peer.link.is_settled else 0
        pause_s = max(pause_s, peer.wait_s(row_bytes, now_s, is_used=is_used))
        peer.due_s = now_s + pause_s * self._random.uniform(1 - settings.jitter, 1 + settings.jitter)

    def _expire(self, peer: ProbedPeer, now_s: float, processing_s: float) -> None:
        """Treat a probe past its deadline: a padded one is overdue first, then lost; a tiny one is lost."""
        probe = peer.outstanding
        if probe is None:
            return
        elapsed_ms = 1000 * (now_s - probe.sent_s)
        if probe.padding_bytes and elapsed_ms < 4000 * self._settings.timeout_s:
            probe.is_overdue = True
            own_ms = max(0.0, 1000 * (processing_s - probe.processing_s))
            peer.link.add_probe(probe.padding_bytes, elapsed_ms, finished=False, ended_s=now_s, processing_ms=own_ms)
            return
        peer.outstanding = None
        self._lose(peer, now_s)

    def _lose(self, peer: ProbedPeer, now_s: float) -> None:
        """Count a lost probe. The way is probed again soon; once it counts as down, only as often as an idle link."""
        peer.lost += 1
        pause_s = self._settings.doubt_s
        if self._is_down(peer):
            if peer.carrier is Carrier.DIRECT and (broker := self._ways.get((peer.device, Carrier.MQTT))) is not None:
                # From now on the broker carries what goes there.
                broker.due_s = min(broker.due_s, now_s)
            pause_s = self._settings.idle_s if self._streams else self._settings.unused_s
        peer.due_s = now_s + max(pause_s, peer.wait_s(0, now_s, is_used=self._is_used(peer)))

    def _blocks_others(self, peer: ProbedPeer, now_s: float) -> bool:
        probe = peer.outstanding
        # A probe that is probably lost must not stop the probes of all other links.
        return probe is not None and now_s - probe.sent_s < self._settings.timeout_s / 3
