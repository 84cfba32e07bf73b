"""Conditions of all tests: no time limits of Hypothesis on a busy machine, and SIGINT as in a terminal."""

import os
import signal

from hypothesis import HealthCheck, settings

# The same examples in each run, so that a change is judged by what it changes. `make properties` searches for others.
_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fixed", _UNTIMED, derandomize=True)
settings.register_profile("random", _UNTIMED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# A background job of a script, or of nohup, ignores SIGINT, and so would the processes that tests start and interrupt.
# Unlike SIG_IGN, a handler is not inherited: this process goes on ignoring SIGINT, its children do not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda number, frame: None)
