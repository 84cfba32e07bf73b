"""The clock counts computing and waiting for a processor, and not sleeping."""

import threading
import time
from pathlib import Path

import pytest

from shared.processing_clock import ProcessingClock


def compute(for_s: float) -> None:
    until_s = time.thread_time() + for_s
    while time.thread_time() < until_s:
        pass


def test_computing_counts() -> None:
    with ProcessingClock() as clock:
        before_s = clock.read_s()
        compute(0.02)
        assert clock.read_s() - before_s >= 0.02


def test_waiting_for_something_else_than_a_processor_does_not_count(tmp_path: Path) -> None:
    with ProcessingClock(tmp_path / "none") as clock:
        before_s = clock.read_s()
        threading.Event().wait(0.1)
        assert clock.read_s() - before_s < 0.05


def test_the_wait_in_the_run_queue_counts(tmp_path: Path) -> None:
    schedstat = tmp_path / "schedstat"
    schedstat.write_text("1000 2500000000 7\n")
    with ProcessingClock(schedstat) as clock:
        assert clock.read_s() == pytest.approx(2.5 + time.thread_time(), abs=0.1)


@pytest.mark.parametrize("text", ["", "12", "a b c", "1 x 3"])
def test_a_file_that_says_nothing_leaves_the_time_on_a_processor(tmp_path: Path, text: str) -> None:
    schedstat = tmp_path / "schedstat"
    schedstat.write_text(text)
    with ProcessingClock(schedstat) as clock:
        assert clock.read_s() == pytest.approx(time.thread_time(), abs=0.05)


def test_since_takes_the_last_sample_before_and_never_exceeds_the_time_that_passed(tmp_path: Path) -> None:
    schedstat = tmp_path / "schedstat"
    schedstat.write_text("0 1000000000 0\n")
    with ProcessingClock(schedstat) as clock:
        clock.sample(10.0)
        # It waited from the sample on, which is counted when it runs again.
        schedstat.write_text("0 1300000000 0\n")
        clock.sample(10.32)
        assert clock.since_ms(10.2, 10.32) == pytest.approx(120.0)
        assert clock.since_ms(9.0, 10.32) == pytest.approx(300.0, abs=20)
        assert clock.since_ms(10.32, 10.4) < 20


def test_without_a_sample_nothing_has_passed() -> None:
    with ProcessingClock() as clock:
        assert clock.since_ms(1.0, 2.0) == pytest.approx(0.0, abs=5)
