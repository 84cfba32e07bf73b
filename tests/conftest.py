"""Conditions of all tests: no time limits of Hypothesis on a busy machine, and SIGINT as in a terminal."""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A background job of a script, or of nohup, ignores SIGINT, and so would the processes that tests start and interrupt.
# Unlike SIG_IGN, a handler is not inherited: this process goes on ignoring SIGINT, its children do not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda number, frame: None)
