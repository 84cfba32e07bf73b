"""The page that Prometheus scrapes, scraped for real."""

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.collector.inbound import RequestSeen, ingest
from services.collector.metrics import Metrics
from services.collector.outcome_store import WriteResult
from shared.bus import topics
from shared.exit_status import InputError
from shared.messages.devices import LinkEstimate, Links, Presence, State, Telemetry
from tests.support.collector_world import failure, present, reroute_event, result


def scrape(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return samples by name and values of the labels (ordered by the labels' names), as an HTTP client sees them."""
    with (
        metrics.serve("127.0.0.1", 0) as endpoint,
        urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=10) as response,
    ):
        page = response.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_outcomes_reroutes_devices_and_links_are_told() -> None:
    metrics = Metrics()
    metrics.stored(RequestSeen("camera", "r1"), WriteResult.STORED)
    metrics.stored(result("r1", latency_ms=40.0, waited_ms=100.0), WriteResult.RESULT)
    metrics.stored(result("r1", attempt=2), WriteResult.DUPLICATE)
    metrics.stored(result("r1"), WriteResult.REDELIVERED)
    metrics.stored(failure("r1"), WriteResult.LATE_ERROR)
    metrics.stored(failure("r2"), WriteResult.ERROR)
    metrics.stored(present(ingest(topics.events(), reroute_event().encode())), WriteResult.STORED)
    metrics.stored(Presence(device="pi", state=State.ONLINE), WriteResult.STORED)
    metrics.stored(Telemetry(device="pi", sent_at_s=1.0, load_factor=2.5), WriteResult.STORED)
    link = LinkEstimate(target="server", bandwidth_mbps=20.0, latency_ms=5.0)
    metrics.stored(Links(device="pi", sent_at_s=1.0, links=(link,)), WriteResult.STORED)
    metrics.bad_message("results")
    metrics.connection("results", True)
    page = scrape(metrics)
    assert page["segue_requests_seen_total", "camera"] == 1
    assert page["segue_results_total", "camera"] == 1
    assert page["segue_duplicates_total", "camera"] == 1
    assert page["segue_redelivered_total", "camera"] == 1
    assert page["segue_late_outcomes_total", "camera"] == 1
    assert page["segue_errors_total", "retries_exhausted", "camera"] == 1
    assert page["segue_request_latency_seconds_sum", "camera"] == pytest.approx(0.14)
    assert page["segue_route_latency_seconds_bucket", "0.05", "camera"] == 1
    assert page["segue_route_latency_seconds_bucket", "0.03", "camera"] == 0
    assert page["segue_reroutes_total", "link_changed", "camera"] == 1
    assert page["segue_device_online", "pi"] == 1
    assert page["segue_device_load_factor", "pi"] == 2.5
    assert page["segue_link_bandwidth_mbps", "pi", "server", "mqtt"] == 20.0
    assert page["segue_bad_messages_total", "results"] == 1
    assert page["segue_collector_connected", "results"] == 1
    assert page["process_resident_memory_bytes",] > 0


def test_a_device_that_has_gone_leaves_no_stale_values() -> None:
    metrics = Metrics()
    metrics.stored(Telemetry(device="pi", sent_at_s=1.0, load_factor=2.5), WriteResult.STORED)
    link = LinkEstimate(target="server", bandwidth_mbps=20.0, latency_ms=5.0)
    metrics.stored(Links(device="pi", sent_at_s=1.0, links=(link,)), WriteResult.STORED)
    metrics.stored(Presence(device="pi", state=State.OFFLINE), WriteResult.STORED)
    metrics.stored(Presence(device="stranger", state=State.OFFLINE), WriteResult.STORED)
    page = scrape(metrics)
    assert page["segue_device_online", "pi"] == 0
    assert ("segue_device_load_factor", "pi") not in page
    assert ("segue_link_bandwidth_mbps", "pi", "server", "mqtt") not in page


def test_labels_from_outside_are_bounded() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.stored(result(f"r{number}", stream=f"s{number}"), WriteResult.RESULT)
    page = scrape(metrics)
    assert sum(name[0] == "segue_results_total" for name in page) <= 257
    assert page["segue_results_total", "other"] >= 1000 - 256


def test_two_collectors_of_one_process_do_not_share_numbers() -> None:
    first, second = Metrics(), Metrics()
    first.bad_message("events")
    assert ("segue_bad_messages_total", "events") not in scrape(second)


def test_a_taken_port_is_the_users_to_change() -> None:
    with (
        Metrics().serve("127.0.0.1", 0) as endpoint,
        pytest.raises(InputError, match="metrics cannot be served"),
        Metrics().serve("127.0.0.1", endpoint.port),
    ):
        raise AssertionError("two servers on one port")
