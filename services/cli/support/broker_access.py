"""Which broker and which account a command uses, and whether the way to it is closed to others.

`--broker` and `SEGUE_BROKER` take an address, or the file of an account that `segue device join` or `segue fleet init`
wrote. Without it, an account that has joined on this machine is used, and else a broker on this machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from shared.bus.exposure import exposures, is_this_machine
from shared.bus.roles import Role
from shared.bus.settings import BusSettings
from shared.enrolment import Enrolment, is_account_file
from shared.exit_status import InputError
from shared.user_folders import user_data_folder

DEFAULT_BROKER: Final = "mqtt://localhost:1883"
# Roles that see the whole fleet, and roles that send requests, in the order in which commands prefer their accounts.
OVERSEERS: Final = (Role.OPERATOR, Role.VIEWER, Role.PLANNER, Role.COLLECTOR)
SENDERS: Final = (Role.OPERATOR, Role.APPLICATION)
# Rights of others. Those of the group are given on purpose: by systemd and Kubernetes, to the service's user.
_OTHERS: Final = 0o007


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """How a command reaches the broker.

    Attributes:
        settings: of its connections.
        account: the account of a fleet; None for a plain address.
    """

    settings: BusSettings
    account: Enrolment | None = None

    def name(self, given: str | None, otherwise: str) -> str:
        """Return the name of a device or a service: that of its account, the given one, or `otherwise`.

        Raises:
            InputError: the account has another name: the broker would refuse the messages.
        """
        account = self.account
        if account is None:
            return given or otherwise
        if given is not None and given != account.account:
            raise InputError(f"the account here is that of {account.account}: it has no rights as {given}")
        return account.account


def accounts_folder() -> Path:
    """Return the folder into which `segue device join` writes accounts."""
    return user_data_folder() / "accounts"


def broker_access(broker: str | None, insecure: bool, roles: Sequence[Role] = OVERSEERS) -> BrokerAccess:
    """Return how a command reaches the broker. One line on standard error tells of an open way.

    Args:
        broker: an address, the file of an account, or None.
        insecure: the way may be open.
        roles: of the accounts that the command can use, the best first.

    Raises:
        SettingsError: the address is malformed, or the account cannot be read.
        InputError: the broker is on another machine and the way to it is open; the account is of a role that cannot do
            what the command does; or several accounts would do.
    """
    access = _access(broker, roles)
    if access.account is not None and access.account.role not in roles:
        needed = " or ".join(roles)
        raise InputError(
            f"the account {access.account.account} has the role {access.account.role}, and this needs one of the role "
            f"{needed}: choose it with --broker"
        )
    lacking = "; ".join(exposures(access.settings))
    if not lacking or is_this_machine(access.settings.host):
        return access
    address = access.settings.address
    if not insecure:
        raise InputError(
            f"{address} is not on this machine, and the way to it is open: {lacking}. Join its fleet (`segue fleet "
            "add-device` there, `segue device join` here), give mqtts://USER:PASSWORD@HOST?ca=FILE, or accept it with "
            "--insecure"
        )
    typer.echo(f"insecure: {address}: {lacking}", err=True)
    return access


def _access(broker: str | None, roles: Sequence[Role]) -> BrokerAccess:
    path = joined_account(roles) if broker is None else Path(broker) if is_account_file(broker) else None
    if path is None:
        return BrokerAccess(BusSettings.from_address(broker or DEFAULT_BROKER))
    account = Enrolment.read(path)
    if path.stat().st_mode & _OTHERS:
        typer.echo(f"warning: other users can read the password in {path}: chmod 600 {path}", err=True)
    return BrokerAccess(account.settings(path), account)


def joined_account(roles: Sequence[Role]) -> Path | None:
    """Return the file of the account that has joined on this machine in the first of some roles; None if none has.

    Raises:
        InputError: there are several in that role.
    """
    try:
        joined = [(path, Enrolment.read(path).role) for path in sorted(accounts_folder().glob("*.json"))]
    except OSError as error:
        raise InputError(f"the accounts in {accounts_folder()} cannot be read: {error.strerror}") from None
    for role in roles:
        found = [path for path, its_role in joined if its_role is role]
        if len(found) > 1:
            files = ", ".join(map(str, found))
            raise InputError(f"there are several accounts of the role {role} here: choose one with --broker: {files}")
        if found:
            return found[0]
    return None
