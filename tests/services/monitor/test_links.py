"""Which links are probed when, and what is said of them."""

import pytest

from services.monitor.links import LinkBook, ProbeSettings, SendProbe
from shared.messages.devices import TransferObservation

SETTINGS = ProbeSettings()


class Network:
    """A link of exactly known bandwidth and latency that echoes probes, in simulated time."""

    def __init__(self, bandwidth_mbps: float = 20.0, latency_ms: float = 5.0) -> None:
        self.bandwidth_mbps, self.latency_ms = bandwidth_mbps, latency_ms
        self.now_s = 0.0
        self.sent: list[tuple[float, SendProbe]] = []
        self.book = LinkBook("pi")
        self.book.device_online("server", "b1", 0.0)
        self.book.monitor_online("server", 0.0)

    def answer(self, probe: SendProbe) -> None:
        """Bring the echo of a probe, and of the padded one that follows it."""
        following: SendProbe | None = probe
        while following is not None:
            self.sent.append((self.now_s, following))
            self.now_s += (2 * self.latency_ms + 8 * following.padding_bytes / (1000 * self.bandwidth_mbps)) / 1000
            following = self.book.echoed(following.target, following.probe_id, self.now_s)

    def run_until(self, end_s: float, *, answering: bool = True) -> None:
        while self.now_s < end_s:
            probe = self.book.tick(self.now_s)
            if probe is not None and answering:
                self.answer(probe)
            elif probe is not None:
                self.sent.append((self.now_s, probe))
            self.now_s = self.book.next_tick_s(self.now_s)

    def transfer(self, size_bytes: int = 60_000, *, finished: bool = True, elapsed_ms: float | None = None) -> bool:
        elapsed_ms = elapsed_ms or self.latency_ms + 8 * size_bytes / (1000 * self.bandwidth_mbps)
        observation = TransferObservation(
            device="pi", target="server", size_bytes=size_bytes, elapsed_ms=elapsed_ms, finished=finished
        )
        return self.book.observed(observation, self.now_s)


@pytest.mark.parametrize("bandwidth_mbps", [0.5, 2.0, 20.0, 200.0])
def test_an_idle_link_is_measured_by_probes(bandwidth_mbps: float) -> None:
    network = Network(bandwidth_mbps)
    network.run_until(10.0)
    (link,) = network.book.estimates()
    assert link.target == "server"
    assert link.bandwidth_mbps == pytest.approx(bandwidth_mbps, rel=0.01)
    assert link.latency_ms == pytest.approx(5.0)


@pytest.mark.parametrize("bandwidth_mbps", [0.1, 2.0, 20.0, 1000.0])
def test_probes_take_a_small_part_of_the_link(bandwidth_mbps: float) -> None:
    network = Network(bandwidth_mbps)
    network.run_until(60.0)
    sent_bytes = sum(probe.padding_bytes for at_s, probe in network.sent if at_s > 10.0)
    assert 8 * sent_bytes / 50.0 <= 1.1 * max(SETTINGS.share * bandwidth_mbps * 1e6, 8 * 2 * 8192 / 20.0)
    assert max(probe.padding_bytes for _, probe in network.sent) <= SETTINGS.most_bytes


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


def test_a_drop_is_found_by_probes_within_two_periods() -> None:
    network = Network(20.0)
    network.run_until(10.0)
    network.bandwidth_mbps = 2.0
    network.run_until(10.0 + 2 * SETTINGS.idle_s)
    assert network.book.estimates()[0].bandwidth_mbps == pytest.approx(2.0, rel=0.01)


def test_an_overdue_padded_probe_lowers_the_estimate_before_its_echo() -> None:
    network = Network(20.0)
    network.run_until(10.0)
    network.run_until(12.5, answering=False)
    tiny = network.sent[-1][1]
    padded = network.book.echoed("server", tiny.probe_id, network.now_s + 0.01)
    assert padded is not None and padded.padding_bytes
    overdue_s = network.book.next_tick_s(network.now_s)
    network.book.tick(overdue_s + 1.0)
    assert network.book.estimates()[0].bandwidth_mbps < 2.0


def test_an_overdue_transfer_is_probed_at_once() -> None:
    network = Network(20.0)
    network.run_until(10.0)
    before = len(network.sent)
    network.transfer(finished=False, elapsed_ms=500.0)
    assert network.book.estimates()[0].bandwidth_mbps < 1.0
    network.run_until(network.now_s + 2 * SETTINGS.doubt_s)
    assert len(network.sent) > before
    assert network.book.estimates()[0].bandwidth_mbps == pytest.approx(20.0, rel=0.01)


def test_a_link_whose_probes_are_lost_is_down_until_one_comes_back() -> None:
    network = Network()
    network.run_until(5.0)
    network.run_until(25.0, answering=False)
    assert network.book.estimates() == ()
    network.run_until(35.0)
    assert len(network.book.estimates()) == 1


def test_without_a_monitor_to_answer_the_estimate_stays() -> None:
    network = Network()
    network.run_until(5.0)
    before = network.book.estimates()
    network.book.monitor_offline("server")
    network.run_until(60.0, answering=False)
    assert network.book.estimates() == before


def test_a_device_that_has_gone_is_forgotten_and_measured_anew() -> None:
    network = Network(20.0)
    network.run_until(5.0)
    network.book.device_offline("server")
    assert network.book.estimates() == ()
    assert network.book.tick(network.now_s) is None
    network.bandwidth_mbps = 5.0
    network.book.device_online("server", "b2", network.now_s)
    network.run_until(network.now_s + 2.0)
    assert network.book.estimates()[0].bandwidth_mbps == pytest.approx(5.0, rel=0.01)


def test_presence_that_is_merely_repeated_forgets_nothing() -> None:
    network = Network()
    network.run_until(5.0)
    before = network.book.estimates()
    network.book.device_online("server", "b1", network.now_s)
    assert network.book.estimates() == before


def test_only_one_link_is_probed_at_a_time() -> None:
    book = LinkBook("pi")
    for peer in ("a", "b", "c"):
        book.device_online(peer, "1", 0.0)
        book.monitor_online(peer, 0.0)
    assert book.tick(0.0) is not None
    assert book.tick(0.1) is None
    assert book.tick(1.5) is not None


def test_a_device_has_no_link_to_itself_and_none_to_strangers() -> None:
    book = LinkBook("pi")
    book.device_online("pi", "1", 0.0)
    book.monitor_online("pi", 0.0)
    assert book.tick(1.0) is None
    stranger = TransferObservation(device="pi", target="ghost", size_bytes=10, elapsed_ms=1.0)
    assert not book.observed(stranger, 0.0)
    assert book.estimates() == ()


def test_a_forged_or_repeated_echo_is_ignored() -> None:
    network = Network()
    probe = network.book.tick(0.0)
    assert probe is not None
    assert network.book.echoed("server", "other", 0.01) is None
    assert network.book.echoed("stranger", probe.probe_id, 0.01) is None
    assert network.book.echoed("server", probe.probe_id, 0.01) is not None
    assert network.book.echoed("server", probe.probe_id, 0.02) is None


def test_unbounded_numbers_of_devices_are_not_remembered() -> None:
    book = LinkBook("pi")
    for number in range(1000):
        book.device_online(f"d{number}", "1", 0.0)
        book.monitor_online(f"d{number}", 0.0)
        probe = book.tick(10.0 * number)
        while probe is not None:
            probe = book.echoed(probe.target, probe.probe_id, 10.0 * number + 0.01)
    assert len(book.estimates()) <= 256
