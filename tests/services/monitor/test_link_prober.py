"""Order and time of probes in simulated networks, and the estimates that result."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import ClassVar

import pytest

from services.monitor.link_prober import LinkProber
from services.monitor.probe_budget import OVERHEAD_BYTES
from services.monitor.probe_settings import ProbeSettings, SendProbe
from shared.bus.feature_maps.link_schedule import LinkRate, LinkSchedule
from shared.link_time import transmission_ms
from shared.messages.devices import DirectEcho, TransferObservation
from shared.transport_mode import Carrier

SETTINGS = ProbeSettings()


class Network:
    """A link of exactly known bandwidth and latency that echoes probes, in simulated time."""

    def __init__(self, bandwidth_mbps: float = 20.0, latency_ms: float = 5.0) -> None:
        self.bandwidth_mbps, self.latency_ms = bandwidth_mbps, latency_ms
        self.now_s = 0.0
        self.sent: list[tuple[float, SendProbe]] = []
        self.prober = LinkProber("pi")
        self.prober.device_online("server", "b1", 0.0)
        self.prober.monitor_online("server", 0.0)
        self.prober.stream_seen("s", 0.0, is_declared=True)

    def answer(self, probe: SendProbe) -> None:
        """Bring the echo of a probe, and of the padded one that follows it."""
        following: SendProbe | None = probe
        while following is not None:
            self.sent.append((self.now_s, following))
            self.now_s += (2 * self.latency_ms + 8 * following.padding_bytes / (1000 * self.bandwidth_mbps)) / 1000
            following = self.prober.echoed(following.target, following.probe_id, self.now_s)

    def run_until(self, end_s: float, *, answering: bool = True) -> None:
        while self.now_s < end_s:
            probe = self.prober.tick(self.now_s)
            if probe is not None and answering:
                self.answer(probe)
            elif probe is not None:
                self.sent.append((self.now_s, probe))
            self.now_s = self.prober.next_tick_s(self.now_s)

    def transfer(self, size_bytes: int = 60_000, *, finished: bool = True, elapsed_ms: float | None = None) -> bool:
        elapsed_ms = elapsed_ms or self.latency_ms + 8 * size_bytes / (1000 * self.bandwidth_mbps)
        observation = TransferObservation(
            device="pi", target="server", size_bytes=size_bytes, elapsed_ms=elapsed_ms, finished=finished
        )
        return self.prober.observed(observation, self.now_s)


@pytest.mark.parametrize("bandwidth_mbps", [0.5, 2.0, 20.0, 200.0])
def test_an_idle_link_is_measured_by_probes(bandwidth_mbps: float) -> None:
    network = Network(bandwidth_mbps)
    network.run_until(10.0)
    (link,) = network.prober.estimates()
    assert link.target == "server"
    assert link.bandwidth_mbps == pytest.approx(bandwidth_mbps, rel=0.01)
    assert link.latency_ms == pytest.approx(5.0)


@pytest.mark.parametrize("bandwidth_mbps", [0.1, 2.0, 20.0, 1000.0])
def test_probes_take_a_small_part_of_the_link(bandwidth_mbps: float) -> None:
    network = Network(bandwidth_mbps)
    network.run_until(60.0)
    sent_bytes = sum(probe.padding_bytes for at_s, probe in network.sent if at_s > 10.0)
    assert 8 * sent_bytes / 50.0 <= 1.1 * SETTINGS.share * bandwidth_mbps * 1e6
    assert max(probe.padding_bytes for _, probe in network.sent) <= SETTINGS.proof_bytes
    assert max((probe.padding_bytes for at_s, probe in network.sent if at_s > 10.0), default=0) <= SETTINGS.most_bytes


def test_one_padded_probe_is_enough_if_it_confirms_a_settled_estimate() -> None:
    network = Network()
    network.run_until(10.0)
    assert [probe.padding_bytes > 0 for _, probe in network.sent[:3]] == [False, True, True]
    assert [probe.padding_bytes > 0 for _, probe in network.sent[-4:]] == [False, True, False, True]
    network.bandwidth_mbps = 18.0
    network.run_until(12.5)
    assert [probe.padding_bytes > 0 for _, probe in network.sent[-3:]] == [False, True, True]


def test_traffic_makes_probes_unnecessary() -> None:
    network = Network()
    network.run_until(5.0)
    before = len(network.sent)
    for _ in range(100):
        network.transfer()
        network.run_until(network.now_s + 0.2)
    assert len(network.sent) == before
    network.run_until(network.now_s + 3 * SETTINGS.idle_s)
    assert len(network.sent) > before


class TwoWays:
    """A device and a server, which a broker and direct connections join, in simulated time."""

    RATES_MBPS: ClassVar = {Carrier.MQTT: 20.0, Carrier.DIRECT: 80.0}

    def __init__(self, settings: ProbeSettings | None = None) -> None:
        self.prober = LinkProber("pi", settings)
        self.now_s = 0.0
        self.is_connected = True
        self.sent: list[tuple[float, SendProbe]] = []
        for device in ("pi", "server"):
            self.prober.device_online(device, "b1", 0.0, transports=("direct", "mqtt"))
        self.prober.monitor_online("server", 0.0)
        self.prober.stream_seen("s", 0.0, is_declared=True)

    def run_until(self, end_s: float) -> None:
        while self.now_s < end_s:
            probe = self.prober.tick(self.now_s)
            while probe is not None:
                self.sent.append((self.now_s, probe))
                probe = self.echo(probe)
            self.now_s = self.prober.next_tick_s(self.now_s)

    def echo(self, probe: SendProbe) -> SendProbe | None:
        elapsed_ms = 10.0 + transmission_ms(probe.padding_bytes, self.RATES_MBPS[probe.carrier])
        self.now_s += elapsed_ms / 1000
        if probe.carrier is Carrier.MQTT:
            return self.prober.echoed("server", probe.probe_id, self.now_s)
        elapsed = elapsed_ms if self.is_connected else None
        echo = DirectEcho(device="pi", target="server", probe_id=probe.probe_id, elapsed_ms=elapsed)
        return self.prober.echoed_directly(echo, self.now_s)

    def estimates(self) -> dict[Carrier, float]:
        return {link.transport: link.bandwidth_mbps for link in self.prober.estimates()}

    def probes_since(self, since_s: float, carrier: Carrier) -> int:
        return sum(probe.carrier is carrier and not probe.padding_bytes for at_s, probe in self.sent if at_s > since_s)


def test_each_way_of_a_link_has_an_estimate_of_its_own() -> None:
    network = TwoWays()
    network.run_until(10.0)
    assert network.estimates() == pytest.approx(network.RATES_MBPS, rel=0.01)
    assert [link.latency_ms for link in network.prober.estimates()] == pytest.approx([5.0, 5.0])


def test_the_way_in_force_is_probed_often_and_the_other_one_rarely() -> None:
    network = TwoWays()
    network.run_until(70.0)
    assert network.probes_since(10.0, Carrier.DIRECT) >= 60.0 / (2 * SETTINGS.idle_s)
    assert 1 <= network.probes_since(10.0, Carrier.MQTT) <= 60.0 / (0.7 * SETTINGS.unused_s)


def test_both_ways_of_a_link_share_its_budget() -> None:
    network = TwoWays()
    network.run_until(70.0)
    sent_bytes = sum(probe.padding_bytes for at_s, probe in network.sent if at_s > 10.0)
    assert 8 * sent_bytes / 60.0 <= 1.1 * SETTINGS.share * network.RATES_MBPS[Carrier.DIRECT] * 1e6


def test_without_a_connection_the_direct_way_is_down_and_the_broker_s_is_in_force() -> None:
    network = TwoWays()
    network.run_until(10.0)
    network.is_connected = False
    network.run_until(20.0)
    assert network.estimates() == pytest.approx({Carrier.MQTT: 20.0, Carrier.DIRECT: 0.0}, rel=0.01)
    assert network.probes_since(14.0, Carrier.MQTT) >= 2
    network.is_connected = True
    network.run_until(25.0)
    assert network.estimates() == pytest.approx(network.RATES_MBPS, rel=0.01)


def test_a_direct_way_that_never_was_up_is_reported_as_down() -> None:
    network = TwoWays()
    network.is_connected = False
    network.run_until(5.0)
    assert network.estimates() == pytest.approx({Carrier.MQTT: 20.0, Carrier.DIRECT: 0.0}, rel=0.01)


def test_a_probe_of_one_way_is_not_answered_on_the_other() -> None:
    network = TwoWays()
    probes: dict[Carrier, SendProbe] = {}
    while len(probes) < 2:
        if (probe := network.prober.tick(network.now_s)) is not None:
            probes[probe.carrier] = probe
        network.now_s += 1.5
    direct = DirectEcho(device="pi", target="server", probe_id=probes[Carrier.MQTT].probe_id, elapsed_ms=1.0)
    assert network.prober.echoed_directly(direct, network.now_s) is None
    assert network.prober.echoed("server", probes[Carrier.DIRECT].probe_id, network.now_s) is None


def test_a_device_without_direct_connections_has_one_way() -> None:
    network = TwoWays()
    network.run_until(5.0)
    network.prober.device_online("server", "b1", network.now_s)
    assert set(network.estimates()) == {Carrier.MQTT}
    network.prober.device_online("server", "b1", network.now_s, transports=("direct",))
    network.run_until(10.0)
    assert set(network.estimates()) == set(Carrier)
    network.prober.device_offline("pi")
    assert set(network.estimates()) == {Carrier.MQTT}


def test_direct_transfers_measure_the_direct_way_alone() -> None:
    network = TwoWays(ProbeSettings(is_metered=True))
    observation = TransferObservation(
        device="pi", target="server", size_bytes=1_000_000, elapsed_ms=100.0, transport=Carrier.DIRECT
    )
    assert network.prober.observed(observation, 1.0)
    network.run_until(100.0)
    assert network.sent == []
    assert network.estimates() == pytest.approx({Carrier.DIRECT: 80.0}, rel=0.01)


def test_a_drop_is_found_by_probes_within_two_periods() -> None:
    network = Network(20.0)
    network.run_until(10.0)
    network.bandwidth_mbps = 2.0
    network.run_until(10.0 + 2 * SETTINGS.idle_s)
    assert network.prober.estimates()[0].bandwidth_mbps == pytest.approx(2.0, rel=0.01)


def test_an_overdue_padded_probe_lowers_the_estimate_before_its_echo() -> None:
    network = Network(20.0)
    network.run_until(10.0)
    network.run_until(12.5, answering=False)
    tiny = network.sent[-1][1]
    padded = network.prober.echoed("server", tiny.probe_id, network.now_s + 0.01)
    assert padded is not None
    assert padded.padding_bytes
    overdue_s = network.prober.next_tick_s(network.now_s)
    network.prober.tick(overdue_s + 1.0)
    assert network.prober.estimates()[0].bandwidth_mbps < 2.0


def test_an_overdue_transfer_is_probed_at_once() -> None:
    network = Network(20.0)
    network.run_until(10.0)
    before = len(network.sent)
    network.transfer(finished=False, elapsed_ms=500.0)
    assert network.prober.estimates()[0].bandwidth_mbps < 1.0
    network.run_until(network.now_s + 2 * SETTINGS.doubt_s)
    assert len(network.sent) > before
    assert network.prober.estimates()[0].bandwidth_mbps == pytest.approx(20.0, rel=0.01)


def test_a_link_whose_probes_are_lost_is_down_until_one_comes_back() -> None:
    network = Network()
    network.run_until(5.0)
    network.run_until(25.0, answering=False)
    assert [link.bandwidth_mbps for link in network.prober.estimates()] == [0.0]
    network.run_until(35.0)
    assert network.prober.estimates()[0].bandwidth_mbps == pytest.approx(20.0, rel=0.01)


def test_without_a_monitor_to_answer_the_estimate_stays() -> None:
    network = Network()
    network.run_until(5.0)
    before = network.prober.estimates()
    network.prober.monitor_offline("server")
    network.run_until(60.0, answering=False)
    assert network.prober.estimates() == before


def test_a_device_that_has_gone_is_forgotten_and_measured_anew() -> None:
    network = Network(20.0)
    network.run_until(5.0)
    network.prober.device_offline("server")
    assert network.prober.estimates() == ()
    assert network.prober.tick(network.now_s) is None
    network.bandwidth_mbps = 5.0
    network.prober.device_online("server", "b2", network.now_s)
    network.run_until(network.now_s + 2.0)
    assert network.prober.estimates()[0].bandwidth_mbps == pytest.approx(5.0, rel=0.01)


def test_presence_that_is_merely_repeated_forgets_nothing() -> None:
    network = Network()
    network.run_until(5.0)
    before = network.prober.estimates()
    network.prober.device_online("server", "b1", network.now_s)
    assert network.prober.estimates() == before


def test_a_link_that_stays_noisy_is_probed_less_and_less() -> None:
    network = Network()
    while network.now_s < 120.0:
        # Each round contradicts the one before.
        network.bandwidth_mbps = 22.0 - network.bandwidth_mbps
        network.run_until(network.now_s + 0.01)
    last = [at_s for at_s, probe in network.sent if at_s > 60.0 and not probe.padding_bytes]
    assert len(last) <= 60.0 / (0.7 * SETTINGS.idle_s)
    network.bandwidth_mbps = 20.0
    before = len(network.sent)
    network.transfer(finished=False, elapsed_ms=500.0)
    network.run_until(network.now_s + 3 * SETTINGS.doubt_s)
    assert len(network.sent) > before


def test_only_one_link_is_probed_at_a_time() -> None:
    prober = LinkProber("pi")
    for peer in ("a", "b", "c"):
        prober.device_online(peer, "1", 0.0)
        prober.monitor_online(peer, 0.0)
    assert prober.tick(0.0) is not None
    assert prober.tick(0.1) is None
    assert prober.tick(1.5) is not None


def test_a_device_has_no_link_to_itself_and_none_to_strangers() -> None:
    prober = LinkProber("pi")
    prober.device_online("pi", "1", 0.0)
    prober.monitor_online("pi", 0.0)
    assert prober.tick(1.0) is None
    stranger = TransferObservation(device="pi", target="ghost", size_bytes=10, elapsed_ms=1.0)
    assert not prober.observed(stranger, 0.0)
    assert prober.estimates() == ()


def test_a_forged_or_repeated_echo_is_ignored() -> None:
    network = Network()
    probe = network.prober.tick(0.0)
    assert probe is not None
    assert network.prober.echoed("server", "other", 0.01) is None
    assert network.prober.echoed("stranger", probe.probe_id, 0.01) is None
    assert network.prober.echoed("server", probe.probe_id, 0.01) is not None
    assert network.prober.echoed("server", probe.probe_id, 0.02) is None


def test_unbounded_numbers_of_devices_are_not_remembered() -> None:
    prober = LinkProber("pi")
    for number in range(1000):
        prober.device_online(f"d{number}", "1", 0.0)
        prober.monitor_online(f"d{number}", 0.0)
        probe = prober.tick(10.0 * number)
        while probe is not None:
            probe = prober.echoed(probe.target, probe.probe_id, 10.0 * number + 0.01)
    assert len(prober.estimates()) <= 256


class TwoMonitors:
    """Two monitors that began together and probe each other, in simulated time.

    Each direction carries one message at a time, so that an echo waits behind a padded probe that goes the same way.
    """

    MESSAGE_BYTES = 80
    HOP_S = 0.001

    def __init__(self, there: LinkRate, back: LinkRate, apart_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.rounds: dict[str, list[float]] = {"pi": [], "server": []}
        self._links = {"pi": LinkSchedule(there), "server": LinkSchedule(back)}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.probers = {name: LinkProber(name) for name in self._links}
        for name, prober in self.probers.items():
            at_s = apart_s if name == "server" else 0.0
            prober.device_online(self._other(name), "b1", at_s)
            prober.monitor_online(self._other(name), at_s)
            prober.stream_seen("s", 0.0, is_declared=True)

    def bandwidth_mbps(self, name: str) -> float:
        return self.probers[name].estimates()[0].bandwidth_mbps

    def run_until(self, end_s: float) -> None:
        while self.now_s < end_s:
            for name, prober in self.probers.items():
                if (probe := prober.tick(self.now_s)) is not None:
                    self.rounds[name].append(self.now_s)
                    self._probe(name, probe)
            next_s = min(prober.next_tick_s(self.now_s) for prober in self.probers.values())
            if self._events and self._events[0][0] <= next_s:
                self.now_s, _, happen = heapq.heappop(self._events)
                happen()
            else:
                self.now_s = next_s

    def _other(self, name: str) -> str:
        return "server" if name == "pi" else "pi"

    def _probe(self, sender: str, probe: SendProbe) -> None:
        receiver = self._other(sender)

        def arrive() -> None:
            self.probers[receiver].probed(sender, self.now_s)
            self._send(receiver, 0, lambda: self._echo(sender, probe.probe_id))

        self._send(sender, probe.padding_bytes, arrive)

    def _echo(self, prober: str, probe_id: str) -> None:
        follower = self.probers[prober].echoed(self._other(prober), probe_id, self.now_s)
        if follower is not None:
            self._probe(prober, follower)

    def _send(self, sender: str, padding_bytes: int, arrive: Callable[[], None]) -> None:
        arrives_s = self.HOP_S + self._links[sender].book(self.now_s, self.MESSAGE_BYTES + padding_bytes).deliver_at_s
        heapq.heappush(self._events, (arrives_s, next(self._order), arrive))


@pytest.mark.parametrize(
    ("there_mbps", "back_mbps"), [(20.0, 20.0), (5.0, 5.0), (2.0, 50.0), (100.0, 20.0), (20.0, 10_000.0)]
)
@pytest.mark.parametrize("apart_ms", [0.0, 4.0, 13.0, 27.0, 45.0])
def test_monitors_that_began_together_do_not_disturb_each_other(
    there_mbps: float, back_mbps: float, apart_ms: float
) -> None:
    pair = TwoMonitors(LinkRate(there_mbps, 5.0), LinkRate(back_mbps, 5.0), apart_ms / 1000)
    pair.run_until(4.0)
    while pair.now_s < 20.0:
        pair.run_until(pair.now_s + 0.5)
        assert pair.bandwidth_mbps("pi") == pytest.approx(there_mbps, rel=0.03)
        assert back_mbps > 1000.0 or pair.bandwidth_mbps("server") == pytest.approx(back_mbps, rel=0.03)
    assert min(len(rounds) for rounds in pair.rounds.values()) >= 20.0 / (2.5 * SETTINGS.idle_s)


def test_of_two_that_probe_each_other_at_the_same_moment_the_first_by_name_goes_on() -> None:
    probers = {name: LinkProber(name) for name in ("pi", "server")}
    tiny = {}
    for name, other in (("pi", "server"), ("server", "pi")):
        probers[name].device_online(other, "b1", 0.0)
        probers[name].monitor_online(other, 0.0)
        tiny[name] = probers[name].tick(0.0)
    assert tiny["pi"] is not None
    assert tiny["server"] is not None
    probers["pi"].probed("server", 0.006)
    probers["server"].probed("pi", 0.006)
    assert probers["pi"].echoed("server", tiny["pi"].probe_id, 0.012) is not None
    assert probers["server"].echoed("pi", tiny["server"].probe_id, 0.012) is None
    assert probers["server"].tick(0.05) is None
    assert probers["server"].tick(0.006 + SETTINGS.yield_s) is not None


def test_pauses_differ_from_device_to_device_and_are_the_same_again_in_another_run() -> None:
    def moments() -> dict[str, list[float]]:
        pair = TwoMonitors(LinkRate(20.0, 5.0), LinkRate(20.0, 5.0))
        pair.run_until(60.0)
        return pair.rounds

    first = moments()
    assert first == moments()
    gaps = [round(after - before, 3) for before, after in zip(first["pi"][10:], first["pi"][11:], strict=False)]
    assert len(set(gaps)) > len(gaps) / 2


class BurstNetwork(Network):
    """A link with a token bucket that is full before every probe."""

    def __init__(self, bandwidth_mbps: float, burst_bytes: int) -> None:
        super().__init__(bandwidth_mbps)
        self.burst_bytes = burst_bytes

    def answer(self, probe: SendProbe) -> None:
        following: SendProbe | None = probe
        while following is not None:
            self.sent.append((self.now_s, following))
            slow_bytes = max(0, following.padding_bytes - self.burst_bytes)
            self.now_s += (2 * self.latency_ms + 0.1 + 8 * slow_bytes / (1000 * self.bandwidth_mbps)) / 1000
            following = self.prober.echoed(following.target, following.probe_id, self.now_s)


@pytest.mark.parametrize("burst_bytes", [16 * 1024, 64 * 1024, 256 * 1024])
def test_a_token_bucket_does_not_pass_for_a_fast_link(burst_bytes: int) -> None:
    network = BurstNetwork(20.0, burst_bytes)
    network.run_until(300.0)
    (link,) = network.prober.estimates()
    assert 18.0 <= link.bandwidth_mbps <= 34.0
    sent_bytes = sum(probe.padding_bytes for at_s, probe in network.sent if at_s > 60.0)
    assert 8 * sent_bytes / 240.0 <= 1.1 * SETTINGS.share * 34e6


@pytest.mark.parametrize(("usual_mbps", "sunk_mbps"), [(20.0, 3.0), (20.0, 1.6), (100.0, 10.0)])
def test_the_recovery_of_a_link_is_noticed_in_seconds(usual_mbps: float, sunk_mbps: float) -> None:
    network = Network(usual_mbps)
    network.run_until(15.0)
    network.bandwidth_mbps = sunk_mbps
    network.run_until(27.0)
    assert network.prober.estimates()[0].bandwidth_mbps == pytest.approx(sunk_mbps, rel=0.1)
    network.bandwidth_mbps = usual_mbps
    network.run_until(33.0)
    assert network.prober.estimates()[0].bandwidth_mbps == pytest.approx(usual_mbps, rel=0.1)


@pytest.mark.parametrize("alive_s", [4.0, 15.0, 60.0])
@pytest.mark.parametrize("bandwidth_mbps", [0.5, 200.0])
def test_a_peer_that_vanishes_is_noticed_whatever_was_spent(bandwidth_mbps: float, alive_s: float) -> None:
    network = Network(bandwidth_mbps)
    network.run_until(alive_s)
    network.run_until(alive_s + 40.0, answering=False)
    assert [link.bandwidth_mbps for link in network.prober.estimates()] == [0.0]


@pytest.mark.parametrize("latency_ms", [20.0, 100.0, 300.0])
def test_a_long_delay_does_not_pass_for_a_slow_link(latency_ms: float) -> None:
    network = Network(50.0, latency_ms)
    network.run_until(60.0)
    assert network.prober.estimates()[0].bandwidth_mbps == pytest.approx(50.0, rel=0.05)


@pytest.mark.parametrize("bandwidth_mbps", [2.0, 20.0, 1000.0])
def test_an_unused_link_costs_at_most_its_bytes_of_a_day(bandwidth_mbps: float) -> None:
    network = Network(bandwidth_mbps)
    network.prober.stream_seen("s", 0.0, is_declared=False)
    network.run_until(3600.0)
    sent_bytes = sum(probe.padding_bytes + OVERHEAD_BYTES for _, probe in network.sent)
    # The burst at the beginning counts once a day.
    assert sent_bytes <= SETTINGS.day_bytes * (0.1 + 0.9 / 24)
    assert network.prober.estimates()[0].bandwidth_mbps == pytest.approx(bandwidth_mbps, rel=0.05)


def test_a_metered_device_sends_no_probe_and_begins_with_what_is_assumed() -> None:
    prober = LinkProber("pi", ProbeSettings(is_metered=True, assumed_mbps=8.0))
    prober.device_online("server", "1", 0.0)
    prober.monitor_online("server", 0.0)
    prober.stream_seen("s", 0.0, is_declared=True)
    assert all(prober.tick(0.5 * number) is None for number in range(1000))
    assert prober.estimates()[0].bandwidth_mbps == pytest.approx(8.0)
    for _ in range(3):
        prober.observed(
            TransferObservation(device="pi", target="server", size_bytes=60_000, elapsed_ms=240.0), now_s=501.0
        )
    assert prober.estimates()[0].bandwidth_mbps == pytest.approx(2.0)


def test_a_metered_peer_gets_no_probe() -> None:
    prober = LinkProber("pi")
    prober.device_online("phone", "1", 0.0)
    prober.monitor_online("phone", 0.0, is_metered=True)
    assert all(prober.tick(0.5 * number) is None for number in range(100))


def test_a_device_that_restarts_all_the_time_gets_no_more_probes() -> None:
    network = Network(20.0)
    while network.now_s < 600.0:
        network.prober.device_offline("server")
        network.prober.device_online("server", f"b{network.now_s}", network.now_s)
        network.prober.monitor_online("server", network.now_s)
        network.run_until(network.now_s + 5.0)
    sent_bytes = sum(probe.padding_bytes for _, probe in network.sent)
    assert 8 * sent_bytes / network.now_s <= 1.5 * SETTINGS.share * 20e6
