"""Notices to a supervisor over its datagram socket."""

import logging
import math
import os
import secrets
import socket
from pathlib import Path

import pytest

from shared.health.supervisor_notices import Supervisor


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": "relative"}, None),
        ({"NOTIFY_SOCKET": "/run/n"}, Supervisor("/run/n", math.inf)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "30000000"}, Supervisor("/run/n", 30.0)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "0"}, Supervisor("/run/n", math.inf)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "soon"}, Supervisor("/run/n", math.inf)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}, Supervisor("/run/n", math.inf)),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "5", "WATCHDOG_PID": str(os.getpid())}, Supervisor("@n", 5e-6)),
    ],
)
def test_environment_of_systemd(environment: dict[str, str], expected: Supervisor | None) -> None:
    assert Supervisor.of_environment(environment) == expected


def test_a_notice_arrives_at_a_path_and_at_an_abstract_name(tmp_path: Path) -> None:
    abstract = f"segue-test-{secrets.token_hex(8)}"
    for address, bound in ((str(tmp_path / "n"), str(tmp_path / "n")), (f"@{abstract}", f"\0{abstract}")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(bound)
            receiver.settimeout(5.0)
            Supervisor(address).send("READY=1")
            assert receiver.recv(100) == b"READY=1"


def test_a_supervisor_that_is_gone_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Supervisor(str(tmp_path / "absent")).send("READY=1")
    assert "is not told 'READY=1'" in caplog.text
