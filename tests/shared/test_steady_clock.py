import logging

import pytest

from shared.steady_clock import SteadyClock


class Machine:
    """A machine's two clocks."""

    def __init__(self) -> None:
        self.wall_s, self.monotonic_s = 1_700_000_000.0, 50.0

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall_s, lambda: self.monotonic_s)

    def wait(self, duration_s: float) -> None:
        self.wall_s += duration_s
        self.monotonic_s += duration_s


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, -1_700_000_000.0])
def test_a_duration_stays_right_when_the_wall_clock_is_set(step_s: float) -> None:
    machine = Machine()
    clock = machine.clock()
    began_s = clock.now_s()
    assert began_s == machine.wall_s
    machine.wait(5.0)
    machine.wall_s += step_s
    machine.wait(5.0)
    assert clock.now_s() - began_s == 10.0


def test_each_setting_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    clock = machine.clock()
    with caplog.at_level(logging.WARNING):
        machine.wait(1000.0)
        machine.wall_s += 1.0
        clock.warn_when_set()
        assert caplog.messages == []
        machine.wall_s += 3600.0
        clock.warn_when_set()
        clock.warn_when_set()
    assert len(caplog.messages) == 1
    assert "this machine's clock was set by +3601 s" in caplog.messages[0]
