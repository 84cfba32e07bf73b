"""Which broker and account a command uses, and which ways it refuses."""

from pathlib import Path

import pytest

from services.cli.support.broker_access import SENDERS, accounts_folder, broker_access
from shared.bus.errors import SettingsError
from shared.bus.roles import Role
from shared.enrolment import Enrolment
from shared.exit_status import InputError

# An address for documentation (RFC 5737): no machine has it.
REMOTE = "192.0.2.10"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder without accounts."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path


def joined(name: str, role: Role, host: str = REMOTE) -> Path:
    """Let an account join on this machine."""
    enrolment = Enrolment(account=name, role=role, password=f"of {name}", host=host, ca_pem="x")
    return enrolment.write(accounts_folder())


def test_without_an_account_the_broker_of_this_machine_is_used() -> None:
    assert broker_access(None, False).settings.address == "mqtt://localhost:1883"


@pytest.mark.parametrize("address", [f"mqtt://{REMOTE}", f"mqtts://{REMOTE}", f"mqtts://u:p@{REMOTE}?insecure", REMOTE])
def test_an_open_way_to_another_machine_needs_insecure_which_tells(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"is not on this machine.*--insecure"):
        broker_access(address, False)
    assert capsys.readouterr().err == ""
    assert broker_access(address, True).settings.host == REMOTE
    told = capsys.readouterr().err
    assert told.startswith("insecure: mqtt")
    assert told.count("\n") == 1


@pytest.mark.parametrize("address", ["mqtt://localhost", "mqtt://127.0.0.1:1884", "mqtts://u:p@" + REMOTE + "?ca=x"])
def test_a_closed_way_or_this_machine_needs_nothing(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    broker_access(address, False)
    broker_access(address, True)
    assert capsys.readouterr() == ("", "")


def test_each_service_uses_its_account_and_people_the_best_of_theirs() -> None:
    for name, role in (("camera", Role.DEVICE), ("planner", Role.PLANNER), ("v", Role.VIEWER), ("o", Role.OPERATOR)):
        joined(name, role)
    assert broker_access(None, False, (Role.DEVICE,)).settings.username == "camera"
    assert broker_access(None, False, (Role.PLANNER,)).settings.username == "planner"
    assert broker_access(None, False).settings.username == "o"
    # A collector has not joined here.
    assert broker_access(None, False, (Role.COLLECTOR,)).account is None
    assert broker_access("mqtt://localhost", False).account is None


def test_several_accounts_of_a_role_need_a_choice() -> None:
    one, other = joined("a", Role.APPLICATION), joined("b", Role.APPLICATION)
    with pytest.raises(InputError, match=rf"choose one with --broker: {one}, {other}"):
        broker_access(None, False, SENDERS)
    assert broker_access(str(other), False, SENDERS).settings.username == "b"


def test_an_account_of_another_role_is_refused_before_the_broker_refuses_it() -> None:
    path = joined("bell", Role.APPLICATION)
    with pytest.raises(InputError, match="bell has the role application, and this needs one of the role operator or"):
        broker_access(str(path), False)
    with pytest.raises(InputError, match="role planner: choose it with --broker"):
        broker_access(str(path), False, (Role.PLANNER,))


def test_a_damaged_account_is_named_and_not_passed_over() -> None:
    path = joined("camera", Role.DEVICE)
    path.write_text("{")
    with pytest.raises(SettingsError, match=r"camera\.json is no account"):
        broker_access(None, False)
    with pytest.raises(SettingsError, match="cannot read the account"):
        broker_access("/no/such.json", False)


def test_names_are_those_of_the_account() -> None:
    joined("camera", Role.DEVICE)
    access = broker_access(None, False, (Role.DEVICE,))
    assert access.name(None, "host") == access.name("camera", "host") == "camera"
    with pytest.raises(InputError, match="has no rights as helper"):
        access.name("helper", "host")
    plain = broker_access("mqtt://localhost", False)
    assert (plain.name(None, "host"), plain.name("pi", "host")) == ("host", "pi")


def test_a_password_that_others_can_read_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    path = joined("planner", Role.PLANNER)
    broker_access(str(path), False)
    assert capsys.readouterr().err == ""
    # As systemd and Kubernetes show a file to a service: its group may read it.
    path.chmod(0o440)
    broker_access(str(path), False)
    assert capsys.readouterr().err == ""
    path.chmod(0o604)
    broker_access(str(path), False)
    assert capsys.readouterr().err == f"warning: other users can read the password in {path}: chmod 600 {path}\n"
