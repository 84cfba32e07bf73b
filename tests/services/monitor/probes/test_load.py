"""The fixed computation, and the run queue."""

import os
from pathlib import Path

import pytest

from services.monitor.probes.load import LoadProbe, runnable_tasks


def test_it_takes_about_two_milliseconds_and_knows_its_own_least() -> None:
    probe = LoadProbe(emulated=True)
    samples = [probe.sample() for _ in range(10)]
    assert all(0 < sample.idle_ms <= sample.measured_ms for sample in samples)
    assert 0.5 <= samples[-1].idle_ms <= 8.0


def test_runnable_tasks_beyond_the_cores_stretch_it(tmp_path: Path) -> None:
    cores = os.cpu_count() or 1
    loadavg = tmp_path / "loadavg"
    loadavg.write_text(f"9.00 9.00 9.00 {3 * cores}/400 12345\n")
    sample = LoadProbe(loadavg=loadavg).sample()
    assert sample.measured_ms / sample.idle_ms >= 3.0 - 1e-9


def test_an_idle_run_queue_changes_nothing(tmp_path: Path) -> None:
    loadavg = tmp_path / "loadavg"
    loadavg.write_text("0.00 0.00 0.00 1/400 12345\n")
    probe = LoadProbe(loadavg=loadavg)
    best = min((probe.sample() for _ in range(20)), key=lambda sample: sample.measured_ms / sample.idle_ms)
    assert best.measured_ms / best.idle_ms < 1.3


@pytest.mark.parametrize("text", ["", "garbage", "0.1 0.1 0.1 x/5 1"])
def test_a_kernel_that_does_not_say_is_no_error(tmp_path: Path, text: str) -> None:
    loadavg = tmp_path / "loadavg"
    loadavg.write_text(text)
    assert runnable_tasks(loadavg) is None
    assert runnable_tasks(tmp_path / "missing") is None
    assert LoadProbe(loadavg=loadavg).sample().measured_ms > 0
