"""What the way to a broker lacks, and which brokers are on this machine."""

import psutil
import pytest

from shared.bus.exposure import exposures, is_loopback, is_this_machine
from shared.bus.settings import BusSettings


@pytest.mark.parametrize(
    ("address", "lacking"),
    [
        ("mqtts://u:p@192.0.2.10", []),
        ("mqtts://192.0.2.10?cert=a&key=b", []),
        ("mqtt://u:p@192.0.2.10", ["no TLS"]),
        ("mqtts://192.0.2.10", ["no account"]),
        ("mqtts://u:p@192.0.2.10?insecure", ["any certificate is accepted"]),
        ("192.0.2.10", ["no TLS", "no account"]),
        ("mqtts://192.0.2.10?insecure=1", ["any certificate is accepted", "no account"]),
    ],
)
def test_what_is_open(address: str, lacking: list[str]) -> None:
    assert [each.split(":")[0] for each in exposures(BusSettings.from_address(address))] == lacking


def test_loopback_is_known_by_its_spelling() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.8.8", "::1")))
    assert not any(map(is_loopback, ("192.0.2.10", "0.0.0.0", "::", "127.0.0.1.example", "localhost.example", "")))


def test_addresses_of_interfaces_are_this_machine_and_others_are_not() -> None:
    own = [each.address for found in psutil.net_if_addrs().values() for each in found if each.family.name == "AF_INET"]
    assert own
    assert all(map(is_this_machine, own))
    # Addresses for documentation (RFC 5737, RFC 3849), and a name that cannot be.
    assert not any(map(is_this_machine, ("192.0.2.10", "2001:db8::1", "no-such-name.invalid", "a..b", "x" * 300)))
