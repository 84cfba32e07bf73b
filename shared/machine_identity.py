"""What distinguishes this machine, and the parts of it that a process sees, from others."""

import contextlib
import hashlib
import os
import platform
import socket
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_CPUINFO = Path("/proc/cpuinfo")
# Lines of /proc/cpuinfo that say which processor it is, in lower case.
_MODEL_KEYS = frozenset(
    (
        "model name",
        "cpu implementer",
        "cpu variant",
        "cpu part",
        "cpu revision",
        "hardware",
        "cpu model",
        "uarch",
        "cpu",
    )
)


@cache
def network_id() -> str:
    """Return the identity of this machine's network, or of this container's if it has its own.

    Processes with the same value reach each other at loopback addresses.
    """
    parts = [socket.gethostname(), _boot_id()]
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/net"))
    return _digest(parts)


@cache
def monotonic_clock_id() -> str:
    """Return the identity of this process's monotonic clock; empty where it is unknown (other than Linux).

    Processes with the same value read the same clock, those in containers of the machine included.
    """
    boot_id = _boot_id()
    if not boot_id:
        return ""
    parts = [boot_id]
    # A time namespace may add an offset to the clock: time_namespaces(7).
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/time"))
    return _digest(parts)


@cache
def processor_model(cpuinfo: Path = _CPUINFO) -> str:
    """Return the make of this machine's processor, the same in all of its containers; that of its family elsewhere.

    Args:
        cpuinfo: file in which the kernel describes the processor.
    """
    try:
        rows = [line.partition(":") for line in cpuinfo.read_text(errors="replace").splitlines()]
    except OSError:
        rows = []
    # x86 has a name, ARM numbers (and two kinds of cores may differ in them), other architectures one of the rest.
    found = {f"{key.strip()}={value.strip()}" for key, _, value in rows if key.strip().lower() in _MODEL_KEYS}
    return ", ".join(sorted(found)) or platform.processor() or platform.machine()


def _boot_id() -> str:
    """Return an identifier that is new at every start of the machine; empty where there is none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _digest(parts: list[str]) -> str:
    # Nobody needs to know the values themselves.
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
