"""Mosquitto's configuration for a fleet."""

from pathlib import Path

import pytest

from broker.fleet_configuration import mosquitto_configuration


def lines_for(*hosts: str) -> list[str]:
    return mosquitto_configuration(Path("/fleet/broker"), hosts, 8884, "mosquitto").splitlines()


@pytest.mark.parametrize(
    ("hosts", "listener"),
    [
        (("192.0.2.10", "localhost"), "listener 8884"),
        (("127.0.0.1", "localhost"), "listener 8884 127.0.0.1"),
        (("localhost",), "listener 8884 127.0.0.1"),
        (("::1",), "listener 8884 ::1"),
    ],
)
def test_it_listens_where_devices_reach_it(hosts: tuple[str, ...], listener: str) -> None:
    assert listener in lines_for(*hosts)


@pytest.mark.parametrize(("user", "lines"), [("mosquitto", ["user mosquitto"]), (None, [])])
def test_only_root_changes_to_another_user(user: str | None, lines: list[str]) -> None:
    """A user id may have no name, as in containers."""
    text = mosquitto_configuration(Path("/fleet/broker"), ("127.0.0.1",), 8884, user)
    assert [line for line in text.splitlines() if line.startswith("user ")] == lines


def test_nobody_is_served_without_tls_account_and_rights() -> None:
    lines = lines_for("192.0.2.10")
    assert sum(line.startswith("listener") for line in lines) == 1
    assert "allow_anonymous false" in lines
    assert {"certfile", "keyfile", "password_file", "acl_file"} <= {line.split()[0] for line in lines}
