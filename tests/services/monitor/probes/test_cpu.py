"""Use of this machine's processor."""

from services.monitor.probes.cpu import CpuProbe


def test_use_is_a_percentage_that_sees_work() -> None:
    probe = CpuProbe()
    # Enough work for the kernel's clock ticks to see it.
    sum(number * number for number in range(2_000_000))
    cpu_percent = probe.sample(0.0)["cpu_percent"]
    assert cpu_percent is not None
    assert 0.0 < cpu_percent <= 100.0
