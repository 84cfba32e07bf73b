"""Command lines of a fleet's processes."""

from pathlib import Path

from services.cli.testbed.command_lines import service_arguments
from services.cli.testbed.fleet_file import parse_fleet

FLEET = {
    "model": {"file": "m.onnx"},
    "stream": {"source": "a", "images": ["*.jpg"]},
    "devices": {"a": {"threads": 2, "power_active_w": 6.4, "power_rx_w": 0.5}, "b": {}},
}


def test_every_device_is_two_processes_that_are_told_what_it_is() -> None:
    found = service_arguments(parse_fleet(FLEET, origin="F"), Path("run"))
    assert list(found) == ["collector", "planner", "executor-a", "monitor-a", "executor-b", "monitor-b"]
    words = " ".join(found["executor-a"])
    assert "--device a" in words
    assert "--threads 2" in words
    assert "--power-active-w 6.4 --power-rx-w 0.5" in words
    assert "--power-idle-w" not in words
    assert "--power" not in " ".join(found["executor-b"])


def test_a_metered_device_or_fleet_tells_its_monitors() -> None:
    devices = {"a": {"metered": True, "assumed_mbps": 8.0}, "b": {}}
    found = service_arguments(parse_fleet({**FLEET, "devices": devices}, origin="F"), Path("run"))
    assert "--metered --assumed-mbps 8.0" in " ".join(found["monitor-a"])
    assert "--metered" not in found["monitor-b"]
    everywhere = service_arguments(parse_fleet({**FLEET, "metered": True}, origin="F"), Path("run"))
    assert "--metered" in everywhere["monitor-a"]
    assert "--metered" in everywhere["monitor-b"]
