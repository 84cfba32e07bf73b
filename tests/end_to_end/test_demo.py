"""`segue demo` as a user runs it, with shorter phases: real processes, a real model, SIGKILL."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

DISTURBANCES = ("link-sags", "device-loaded", "device-killed")
SEGUE = (sys.executable, "-m", "services.cli.main")


def processes_of(run_dir: Path) -> list[psutil.Process]:
    """Return the processes of a run: their command lines contain its folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(run_dir) in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.timeout(240)
def test_the_demo_reroutes_at_every_disturbance_and_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [*SEGUE, "demo", "--json", "--phase-s", "6", "--run-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["requests"] == summary["results"] > 50
    assert (summary["errors"], summary["lost"], summary["duplicates"], summary["mismatches"]) == (0, 0, 0, 0)
    assert summary["problems"] == []
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]

    rerouted = [reroute["phase"] for reroute in summary["reroutes"]]
    for name in DISTURBANCES:
        assert name in rerouted
    for reroute in summary["reroutes"]:
        assert reroute["reason"]
        assert reroute["from"] != reroute["to"]
        assert reroute["predicted_ms"][1] > 0

    phases = {phase["name"]: phase for phase in summary["phases"]}
    killed = phases["device-killed"]["condition"].split()[0]
    assert killed not in phases["device-killed"]["route"]
    for name in DISTURBANCES:
        assert phases[name]["predicted_ms"] <= phases[name]["best_single_device"]["predicted_ms"] * 1.3
    assert processes_of(tmp_path) == []


@pytest.mark.timeout(120)
def test_ctrl_c_stops_everything_in_order_and_still_sums_up(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [*SEGUE, "demo", "--json", "--run-dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout is not None
    assert demo.stderr is not None
    with demo.stdout, demo.stderr:
        for line in demo.stderr:
            if "phase 1/" in line:
                break
        os.killpg(demo.pid, signal.SIGINT)
        summary = json.loads(demo.stdout.read())
        demo.stderr.read()
    assert demo.wait(60) == 130
    assert summary["lost"] == summary["mismatches"] == 0
    assert processes_of(tmp_path) == []


@pytest.mark.timeout(120)
def test_nothing_is_left_behind_when_the_demo_itself_is_killed(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [*SEGUE, "demo", "--run-dir", str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert demo.stderr is not None
    with demo.stderr:
        for line in demo.stderr:
            if "giving model" in line:
                break
        started = [process for process in psutil.Process(demo.pid).children(recursive=True) if process.is_running()]
        demo.kill()
        demo.wait(30)
    assert len(started) >= 8
    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []
