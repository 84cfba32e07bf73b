import subprocess
import sys
import threading
import time

import pytest

from shared.time_limits import BASE_LIMIT_S, TimeLimitExceeded, Watchdog, call_apart, limit_for

PATIENCE_S = 30.0
# Ends while a call that was given up goes on, or not.
ENDING = """
import atexit, sys, threading
from contextlib import suppress
from shared.time_limits import TimeLimitExceeded, call_apart, end_process
atexit.register(print, "shut down")
print("error")
if sys.argv[1] == "running":
    with suppress(TimeLimitExceeded):
        call_apart(threading.Event().wait, 0.01, grace_s=0.01)
end_process(sys.argv[2] if len(sys.argv) > 2 else 2)
"""


def test_operations_explain_a_longer_run_up_to_a_bound() -> None:
    assert limit_for(0) == BASE_LIMIT_S
    assert limit_for(5e9) == BASE_LIMIT_S + 5
    assert limit_for(5e9, 1.0) == 6
    assert limit_for(1e300) == 600


def test_a_call_is_stopped_at_its_limit_and_others_go_on() -> None:
    watchdog, stopped, other = Watchdog(), threading.Event(), threading.Event()
    with watchdog.watch(PATIENCE_S, other.set) as long, watchdog.watch(0.01, stopped.set) as short:
        assert stopped.wait(PATIENCE_S)
    assert short.is_over
    assert not long.is_over
    assert not other.is_set()


def test_a_call_that_has_ended_is_not_stopped() -> None:
    watchdog, stopped, later = Watchdog(), threading.Event(), threading.Event()
    with watchdog.watch(0.05, stopped.set):
        pass
    with watchdog.watch(0.1, later.set):
        assert later.wait(PATIENCE_S)
    assert not stopped.is_set()


def test_time_in_which_the_process_did_not_run_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    woken = threading.Semaphore(0)

    def clock() -> float:
        woken.release()
        return now_s[0]

    monkeypatch.setattr(time, "monotonic", clock)
    watchdog, stopped = Watchdog(tick_s=0.01), threading.Event()
    with watchdog.watch(10.0, stopped.set) as watch:
        # The clock is read at the beginning of the watch, and at every turn of the watching thread.
        for _ in range(2):
            assert woken.acquire(timeout=PATIENCE_S)
        now_s[0] = 100.0
        for _ in range(2):
            assert woken.acquire(timeout=PATIENCE_S)
        assert not watch.is_over
        # All but the tick that the thread meant to wait.
        assert watch.end_s == pytest.approx(109.99)


def test_a_call_apart_gives_its_value_or_its_error() -> None:
    assert call_apart(lambda: threading.current_thread().daemon, PATIENCE_S)
    with pytest.raises(ZeroDivisionError):
        call_apart(lambda: 1 // 0, PATIENCE_S)


def test_a_call_that_cannot_be_stopped_is_given_up() -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(PATIENCE_S)
        ended.set()

    with pytest.raises(TimeLimitExceeded, match=r"^it did not end within 0\.01 s$"):
        call_apart(work, 0.01, grace_s=0.01)
    assert not ended.is_set()
    release.set()
    assert ended.wait(PATIENCE_S)


@pytest.mark.parametrize(("state", "printed"), [("running", ["error"]), ("idle", ["error", "shut down"])])
def test_a_process_ends_at_once_while_a_call_that_was_given_up_goes_on(state: str, printed: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", ENDING, state], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout.splitlines()) == (2, printed)


def test_a_process_that_ends_at_once_prints_its_last_line() -> None:
    command = [sys.executable, "-c", ENDING, "running", "the disk is full"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (1, "the disk is full\n")


def test_an_interrupted_caller_leaves_the_call_and_the_process_ends() -> None:
    program = ENDING.replace("0.01, grace_s=0.01", "30").replace(
        "suppress(TimeLimitExceeded)", "suppress(KeyboardInterrupt)"
    )
    program = program.replace("threading.Event().wait", "lambda: (_thread.interrupt_main(), threading.Event().wait())")
    command = [sys.executable, "-c", f"import _thread{program}", "running"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout.splitlines()) == (2, ["error"])
