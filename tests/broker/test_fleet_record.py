"""Accounts, streams and passwords of a fleet as a value."""

import pytest

from broker.access_files import hashed_password
from broker.fleet_record import FleetRecord
from shared.bus.account_rights import Account
from shared.bus.roles import Role
from shared.exit_status import InputError

HASH = hashed_password("x")
EMPTY = FleetRecord(hosts=("127.0.0.1",), planner_key="ab" * 32)
FLEET = EMPTY.with_account("camera", Role.DEVICE, HASH).with_account("helper", Role.DEVICE, HASH)


def test_a_stream_has_one_source_and_it_may_change() -> None:
    fleet = FLEET.with_stream("door", "camera").with_stream("yard", "camera")
    assert fleet.rights() == (Account("camera", Role.DEVICE, ("door", "yard")), Account("helper", Role.DEVICE))
    moved = fleet.with_stream("door", "helper")
    assert moved.rights() == (Account("camera", Role.DEVICE, ("yard",)), Account("helper", Role.DEVICE, ("door",)))


def test_an_application_has_streams_that_have_a_source() -> None:
    with pytest.raises(InputError, match="segue fleet add-stream door --source DEVICE"):
        FLEET.with_account("bell", Role.APPLICATION, HASH, ("door",))
    fleet = FLEET.with_stream("door", "camera").with_account("bell", Role.APPLICATION, HASH, ("door",))
    assert fleet.rights()[-1] == Account("bell", Role.APPLICATION, ("door",))


def test_a_device_that_is_revoked_is_the_source_of_nothing() -> None:
    fleet = FLEET.with_stream("door", "camera").without_account("camera")
    assert [each.name for each in fleet.accounts] == ["helper"]
    # A device that is added later under this name does not inherit its photographs.
    assert fleet.with_account("camera", Role.DEVICE, HASH).rights()[-1] == Account("camera", Role.DEVICE)


def test_only_a_device_is_a_source() -> None:
    with pytest.raises(InputError, match="operator is no device"):
        FLEET.with_account("operator", Role.OPERATOR, HASH).with_stream("door", "operator")
    with pytest.raises(InputError, match="there is no account ghost"):
        FLEET.with_stream("door", "ghost")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "+", "#", "a\nuser b", "-a", "x" * 65, "monitor-camera", "$SYS"])
def test_names_that_would_reach_further_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        FLEET.with_account(name, Role.VIEWER, HASH)
    with pytest.raises(InputError):
        FLEET.with_account("bell", Role.APPLICATION, HASH, (name,))


@pytest.mark.parametrize("name", ["", "a b", "a/b", "+", "#", "a\ntopic write #"])
def test_streams_that_would_reach_further_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        FLEET.with_stream(name, "camera")


def test_a_name_is_used_once_whatever_the_role() -> None:
    with pytest.raises(InputError, match="there is an account camera already"):
        FLEET.with_account("camera", Role.APPLICATION, HASH)


def test_passwords_change_one_by_one() -> None:
    other = hashed_password("y")
    fleet = FLEET.with_password("helper", other)
    assert [each.password_hash for each in fleet.accounts] == [HASH, other]
    for missing in (FLEET.without_account, lambda name: FLEET.with_password(name, other)):
        with pytest.raises(InputError, match="there is no account ghost; `segue fleet list`"):
            missing("ghost")
