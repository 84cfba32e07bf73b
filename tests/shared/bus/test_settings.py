"""Addresses of brokers, right and wrong, and the secrecy of passwords."""

import re
from pathlib import Path
from typing import Any

import pytest

from shared.bus.errors import SettingsError
from shared.bus.settings import BusSettings


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("mqtt://broker", BusSettings(host="broker")),
        ("broker", BusSettings(host="broker")),
        ("broker:1999", BusSettings(host="broker", port=1999)),
        ("mqtt://", BusSettings(host="localhost")),
        ("mqtt://[::1]:1884", BusSettings(host="::1", port=1884)),
        ("mqtt://user:p%40ss%2F@h:1", BusSettings(host="h", port=1, username="user", password="p@ss/")),
        ("mqtts://h", BusSettings(host="h", port=8883, tls=True)),
        (
            "mqtts://h:1?ca=a.pem&cert=c.pem&key=k.pem&root=lab/v1&keepalive=60",
            BusSettings(
                "h", 1, tls=True, tls_ca="a.pem", tls_cert="c.pem", tls_key="k.pem", root="lab/v1", keepalive_s=60
            ),
        ),
        ("mqtts://h?insecure", BusSettings(host="h", port=8883, tls=True, tls_insecure=True)),
        ("mqtts://h?insecure=no", BusSettings(host="h", port=8883, tls=True)),
    ],
)
def test_an_address_is_read(address: str, expected: BusSettings) -> None:
    assert BusSettings.from_address(address) == expected


def test_overrides_take_precedence() -> None:
    settings = BusSettings.from_address("mqtt://a:b@h:1?root=x", password="c", root="y")
    assert (settings.password, settings.root) == ("c", "y")


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://h", "unknown scheme"),
        ("mqtt://h:99999", "port"),
        ("mqtt://h:0x", "port"),
        ("mqtt://h/root", "unexpected path"),
        ("mqtt://h?colour=red", "unknown parameter"),
        ("mqtt://h?keepalive=often", "keepalive"),
        ("mqtt://h?keepalive=0", "keepalive"),
        ("mqtt://h?root=a/%23", "root topic"),
        ("mqtt://h?root=/a", "root topic"),
        ("mqtts://h?cert=c.pem", "tls_cert and tls_key"),
    ],
)
def test_a_wrong_address_says_what_is_wrong(address: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        BusSettings.from_address(address)


@pytest.mark.parametrize(
    "changes",
    [
        {"host": ""},
        {"port": 0},
        {"receive_maximum": 0},
        {"queue_limit": 0},
        {"max_outstanding": 0},
        {"reconnect_min_s": 2.0, "reconnect_max_s": 1.0},
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        BusSettings(**changes)


def test_an_unknown_override_is_refused() -> None:
    with pytest.raises(SettingsError, match="colour"):
        BusSettings.from_address("mqtt://h", colour="red")


def test_the_password_is_never_shown() -> None:
    settings = BusSettings.from_address("mqtts://user:hunter2@h")
    assert settings.password == "hunter2"
    assert "hunter2" not in repr(settings) + str(settings) + settings.address
    assert settings.address == "mqtts://user@h:8883"


def test_a_password_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b" p w\r\n")
    assert BusSettings.from_address(f"mqtts://user@h?password_file={path}").password == " p w"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"a\nb\n", b"\xff", b"x" * 65536])
def test_a_file_without_a_password_is_named_and_not_quoted(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(str(path))) as caught:
        BusSettings.from_address(f"mqtts://user@h?password_file={path}")
    assert "xxx" not in str(caught.value)


def test_an_address_of_ip_version_6_is_shown_in_brackets() -> None:
    assert BusSettings(host="::1").address == "mqtt://[::1]:1883"
