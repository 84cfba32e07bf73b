"""Names of the results of the data path's benchmark, which others read."""

from typing import Any

from benchmarks import tile_messages
from benchmarks.datapath import SIZES, WAYS, headline, noise_text, results_of, tables
from benchmarks.peer_processes import PEERS
from benchmarks.peers import SEGUE

SPREAD = {"p50": 1.0, "p99": 2.0}


def document() -> dict[str, Any]:
    """Return what a run returns, with made-up figures."""
    hop = {"hop_ms": SPREAD, "total_ms": SPREAD, "raw_tcp_ms": SPREAD, "hop_over_raw_tcp": 1.5}
    latency = {"latency_ms": SPREAD, "rate_hz": 10.0}
    late = {**SPREAD, "worst": 3.0}
    return {
        "rows": [{"size": size, "way": way, **hop} for size in SIZES for way in WAYS],
        "steady": [{"way": way, "total_ms": SPREAD, "worst_ms": 3.0} for way in WAYS],
        "rates_hz": {"one_device": 20.0, **{f"two_devices_{way}": 10.0 for way in WAYS}},
        "fleet": {"cpu_ms": {"broker": 1.0}, "sum_ms": 6.0, "client_ms": 1.0},
        "peers": {name: latency for name in (*PEERS, *SEGUE, "one process")},
        "noise": {"before": late, "after": late},
        "tiles": [
            {"transport": mode.value, "form": form, "cpu_per_message_ms": 0.1, "latency_ms": SPREAD}
            | {"request_ms": SPREAD, "chain": {"hop_ms": SPREAD, "cpu_per_hop_ms": 0.2}}
            for mode, form in tile_messages.WAYS
        ],
    }


def test_the_results_have_their_names() -> None:
    results = results_of(document())
    assert results.keys() >= {
        "hop_ratio_3200kB_mqtt",
        "hop_ratio_3200kB_direct",
        "hop_ratio_3200kB_memfd",
        "hop_50kB_mqtt_ms",
        "hop_50kB_direct_ms",
        "total_50kB_mqtt_ms",
        "total_50kB_direct_ms",
        "rate_one_device_hz",
        "rate_two_devices_hz",
        "cpu_per_request_ms",
        "tile_message_cpu_ms",
        "tile_message_latency_ms",
        "tiles_14x4_messages_ms",
        "tiles_14x4_messages_mqtt_ms",
        "latency_over_grpc",
        "latency_over_zeromq",
        "rate_over_grpc",
    }
    assert all(isinstance(value, float) for value in results.values())


def test_peers_that_are_not_installed_are_left_out() -> None:
    without = document()
    del without["peers"]["grpc"]
    assert not [name for name in results_of(without) if "grpc" in name]


def test_everything_is_shown() -> None:
    shown = document()
    assert len(list(tables(shown))) == 6
    assert "3.0" in noise_text(shown)
    assert "6.0 ms of CPU" in headline(results_of(shown))
