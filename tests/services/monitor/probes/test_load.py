"""The fixed computation, and the run queue."""

import os
from pathlib import Path

import pytest

from services.monitor.probes.load import LoadProbe, busy_s, runnable_tasks


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


def stat(path: Path, user: int) -> Path:
    """Write a file like the kernel's, in which cores 0 and 1 were busy for `user` + 3 ticks."""
    lines = [f"cpu{core} {user} 1 1 900 50 1 0 0 0 0" for core in (0, 1)]
    path.write_text("\n".join((f"cpu  {2 * user} 2 2 1800 100 2 0 0 0 0", *lines, "intr 5 0 0")) + "\n")
    return path


def test_the_time_that_cores_were_busy(tmp_path: Path) -> None:
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    path = stat(tmp_path / "stat", 97)
    assert busy_s(frozenset({0}), path) == pytest.approx(100 * tick_s)
    assert busy_s(frozenset({0, 1}), path) == pytest.approx(200 * tick_s)
    assert busy_s(frozenset({0, 7}), path) is None
    assert busy_s(frozenset({0}), tmp_path / "nowhere") is None
    path.write_text("cpu0 1 x\n")
    assert busy_s(frozenset({0}), path) is None
    assert (busy_s(frozenset(os.sched_getaffinity(0))) or 0) > 0


@pytest.mark.skipif(os.cpu_count() == 1, reason="a device cannot have fewer cores than this machine")
def test_neighbours_on_other_cores_are_no_load(tmp_path: Path) -> None:
    """The run queue of the machine is long, and nothing runs on the core of this device."""
    (tmp_path / "loadavg").write_text("9.00 9.00 9.00 40/400 12345\n")
    path = stat(tmp_path / "stat", 5)
    confined = LoadProbe(loadavg=tmp_path / "loadavg", stat=path, cores=frozenset({0}))
    assert min(sample.measured_ms / sample.idle_ms for sample in (confined.sample() for _ in range(20))) < 1.3
