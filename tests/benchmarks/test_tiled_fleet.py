"""Descriptions and summaries of the benchmark of tiled routes on a fleet."""

from pathlib import Path

import pytest

from benchmarks.tiled_fleet import TiledRun, four_devices, headline, line, numbers, summary
from services.cli.testbed.conditions import usual_conditions

RUNS = [
    TiledRun(1000, "single", "shortest_path", "d1[0,24)", 300.0, 300.0),
    TiledRun(1000, "sequential", "shortest_path", "d1[0,24)", 300.0, 320.0),
    TiledRun(1000, "auto", "tiled", "d1[0,1) > d1:0-28+d2:28-56[1,22) > d1[22,24)", 190.0, 200.0),
    TiledRun(20, "single", "shortest_path", "d1[0,24)", 300.0, 300.0),
    TiledRun(20, "sequential", "shortest_path", "d1[0,24)", 300.0, 300.0),
    TiledRun(20, "auto", "shortest_path", "d1[0,24)", 300.0, 300.0),
]


def test_the_summary_says_where_tiles_were_chosen_and_what_they_gained() -> None:
    found = summary(RUNS)
    assert found["chosen"]["1000"] == {"tiles": True, "measured_gain": 1.5}
    assert found["chosen"]["20"] == {"tiles": False, "measured_gain": 1.0}
    assert found["mean_error"] == pytest.approx((20 / 320 + 10 / 200) / 6)
    assert "1000 Mbps: tiles, 1.50 x; 20 Mbps: no tiles, 1.00 x" in headline(found)
    assert "-5.0%" in line(RUNS[2])


def test_every_pair_of_devices_has_a_link() -> None:
    fleet = four_devices(Path("m.onnx"), numbers("80,40,20,10"), 50.0)
    assert [device.slowdown for device in fleet.devices.values()] == [80, 40, 20, 10]
    assert len(usual_conditions(fleet).links) == 6
