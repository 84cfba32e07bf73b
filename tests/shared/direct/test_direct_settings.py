"""Addresses, and which of them need encryption."""

from dataclasses import replace

import pytest

from shared.bus.settings import BusSettings
from shared.direct.direct_settings import DirectSettings, Endpoint, own_address, usual_socket_folder

BUS = BusSettings(host="127.0.0.1")


@pytest.mark.parametrize("text", ["192.0.2.7:4000", "[2001:db8::7]:4000", "127.0.0.1:65535"])
def test_an_address_is_read_and_written(text: str) -> None:
    assert str(Endpoint.parse(text)) == text


@pytest.mark.parametrize("text", ["", ":1", "192.0.2.7", "192.0.2.7:0", "192.0.2.7:65536", "host:1", "300.1.1.1:5"])
def test_what_is_no_numeric_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Endpoint.parse(text)


@pytest.mark.parametrize(
    ("tls", "host", "needed"),
    [(False, "127.0.0.1", False), (False, "::1", False), (False, "192.0.2.7", True), (True, "127.0.0.1", True)],
)
def test_encryption_is_needed_off_this_machine_and_where_the_bus_is_encrypted(
    tls: bool, host: str, needed: bool
) -> None:
    assert DirectSettings(replace(BUS, tls=tls)).needs_tls(host) is needed


def test_the_own_address_is_the_one_towards_the_broker() -> None:
    assert own_address(BUS) == "127.0.0.1"
    with pytest.raises(OSError, match=r"."):
        own_address(BusSettings(host="no-such-host.invalid"))


def test_the_folder_is_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert str(usual_socket_folder()) == "/run/user/7/segue"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert usual_socket_folder().name.startswith("segue-")
