"""Notices to systemd, or to another supervisor that speaks its protocol.

Source: sd_notify(3) and sd_watchdog_enabled(3) of systemd.
"""

import logging
import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Supervisor:
    """A supervisor that awaits notices.

    Attributes:
        address: of its datagram socket, a path, or an abstract name that begins with `@`.
        watchdog_s: time without `WATCHDOG=1` after which it restarts the service; infinite if it does not watch.
    """

    address: str
    watchdog_s: float = math.inf

    @property
    def is_watching(self) -> bool:
        """Whether it awaits `WATCHDOG=1`."""
        return math.isfinite(self.watchdog_s)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """Return the supervisor that has started this process; None if none awaits notices."""
        address = environment.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        period = environment.get("WATCHDOG_USEC", "")
        is_meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if not (is_meant and period.isascii() and period.isdigit() and int(period)):
            return cls(address)
        return cls(address, int(period) / 1e6)

    def send(self, text: str) -> None:
        """Send lines such as `READY=1`. A supervisor that cannot be reached is logged."""
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), address)
        except OSError as error:
            _LOGGER.warning("the supervisor at %s is not told %r: %s", self.address, text, error)
