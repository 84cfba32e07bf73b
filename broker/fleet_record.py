"""What a fleet consists of, as its folder keeps it: accounts with hashed passwords, streams, hosts of the broker."""

import ipaddress
import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from shared.bus.account_rights import Account
from shared.bus.roles import Role
from shared.bus.settings import DEFAULT_ROOT, DEFAULT_TLS_PORT
from shared.exit_status import InputError
from shared.messages.bounds import Name, PublicKey

# Mosquitto's limit on a line of the rules is far above; this one keeps the files readable for it in a moment.
_MAX_ACCOUNTS: Final = 10_000
_MAX_SITES: Final = 1_000

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*")
_MAX_HOST: Final = 253


def _checked_host(text: str) -> str:
    try:
        # The unspecified address is where a server listens, and no place to connect to.
        is_host = not ipaddress.ip_address(text).is_unspecified and "%" not in text
    except ValueError:
        is_host = len(text) <= _MAX_HOST and _HOST_NAME.fullmatch(text) is not None
    if not is_host:
        raise ValueError("neither an address nor a host name")
    return text


# A name or an address of the broker, as certificates have it: no port, no brackets, no zone.
Host = Annotated[str, AfterValidator(_checked_host)]


# As it stands in Mosquitto's password file.
PasswordHash = Annotated[str, StringConstraints(pattern=r"^\$7\$\d+\$[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+$")]


class AccountRecord(BaseModel):
    """An account.

    Attributes:
        name: user name.
        role: what its holder is.
        password_hash: in the format of Mosquitto's password file.
        streams: of an application, the streams to which it sends requests.
        site: where a device or an application is; None for the first broker's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    role: Role
    password_hash: PasswordHash
    streams: tuple[Name, ...] = ()
    site: Name | None = None


class SiteRecord(BaseModel):
    """A further site of a fleet, with a Mosquitto of its own that is bridged to the first one.

    Attributes:
        name: of the site.
        hosts: names and addresses of its broker; clients use the first.
        port: its TCP port, which serves TLS.
        bridge_hash: hash of the password of its bridge.
        first_host: name of the first broker as its certificate has it and the bridge reaches it; None for the fleet's.
        is_twin: it serves the members of the first broker, beside it, and everything crosses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    hosts: Annotated[tuple[Host, ...], Field(min_length=1, max_length=64)]
    port: Annotated[int, Field(ge=1, le=65535)] = DEFAULT_TLS_PORT
    bridge_hash: PasswordHash
    first_host: Host | None = None
    is_twin: bool = False

    @property
    def bridge_account(self) -> str:
        """User name of its bridge at the first broker."""
        return f"site-{self.name}"


class FleetRecord(BaseModel):
    """A fleet. Changes return a new record.

    Attributes:
        hosts: names and addresses of the broker; clients use the first.
        port: its TCP port, which serves TLS.
        root: prefix of every topic.
        planner_key: public key of the planner.
        accounts: every account.
        sources: source device of every stream, by stream. Only this device may receive the stream's requests.
        sites: further sites, with brokers of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1, le=1)] = 1
    hosts: Annotated[tuple[Host, ...], Field(min_length=1, max_length=64)]
    port: Annotated[int, Field(ge=1, le=65535)] = DEFAULT_TLS_PORT
    root: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")] = DEFAULT_ROOT
    planner_key: PublicKey
    accounts: Annotated[tuple[AccountRecord, ...], Field(max_length=_MAX_ACCOUNTS)] = ()
    sources: dict[Name, Name] = {}
    sites: Annotated[tuple[SiteRecord, ...], Field(max_length=_MAX_SITES)] = ()

    def rights(self) -> tuple[Account, ...]:
        """Return the accounts with their streams: an application's own, and those whose source a device is."""
        return tuple(map(self._with_rights, self.accounts))

    def rights_at(self, site: str | None) -> tuple[Account, ...]:
        """Return the accounts at a site, or at the first broker, with their streams."""
        return tuple(map(self._with_rights, self.accounts_at(site)))

    def accounts_at(self, site: str | None) -> tuple[AccountRecord, ...]:
        """Return the accounts at a site; None for the first broker's."""
        return tuple(each for each in self.accounts if each.site == site)

    def site(self, name: str) -> SiteRecord:
        """Return the site of this name.

        Raises:
            InputError: there is none.
        """
        for each in self.sites:
            if each.name == name:
                return each
        raise InputError(f"there is no site {name}: segue fleet bridge {name} --host HOST --out DIR")

    def with_site(self, site: SiteRecord) -> "FleetRecord":
        """Return the fleet with a site, or with another description of it.

        Raises:
            InputError: an account has the name of its bridge.
        """
        if any(each.name == site.bridge_account for each in self.accounts):
            raise InputError(f"an account is called {site.bridge_account}: give the site another name")
        others = (each for each in self.sites if each.name != site.name)
        return self.model_copy(update={"sites": (*others, site)})

    def account(self, name: str) -> AccountRecord:
        """Return the account of this name.

        Raises:
            InputError: there is none.
        """
        for each in self.accounts:
            if each.name == name:
                return each
        raise InputError(f"there is no account {name}; `segue fleet list` lists those there are")

    def with_account(
        self,
        name: str,
        role: Role,
        password_hash: str,
        streams: tuple[str, ...] = (),
        site: str | None = None,
    ) -> "FleetRecord":
        """Return the fleet with a further account.

        Raises:
            InputError: the name is taken or is no name, a stream has no source device, or there is no such site.
        """
        if site is not None:
            self.site(site)
        if any(each.bridge_account == name for each in self.sites):
            raise InputError(f"{name} is the account of a bridge")
        if any(each.name == name for each in self.accounts):
            raise InputError(
                f"there is an account {name} already: `segue fleet rotate {name}` gives it a new password, "
                f"`segue fleet revoke {name}` removes it"
            )
        for stream in streams:
            if stream not in self.sources:
                raise InputError(f"stream {stream} is unknown here: segue fleet add-stream {stream} --source DEVICE")
        try:
            Account(name, role, streams)
        except ValueError as error:
            raise InputError(str(error)) from None
        added = AccountRecord(name=name, role=role, password_hash=password_hash, streams=streams, site=site)
        return self.model_copy(update={"accounts": (*self.accounts, added)})

    def without_account(self, name: str) -> "FleetRecord":
        """Return the fleet without an account. The streams of a device lose their source.

        Raises:
            InputError: there is none of this name.
        """
        gone = self.account(name)
        sources = {stream: source for stream, source in self.sources.items() if source != name}
        rest = tuple(each for each in self.accounts if each is not gone)
        return self.model_copy(update={"accounts": rest, "sources": sources})

    def with_password(self, name: str, password_hash: str) -> "FleetRecord":
        """Return the fleet with another password of an account.

        Raises:
            InputError: there is none of this name.
        """
        changed = self.account(name)
        accounts = (
            each.model_copy(update={"password_hash": password_hash}) if each is changed else each
            for each in self.accounts
        )
        return self.model_copy(update={"accounts": tuple(accounts)})

    def with_stream(self, stream: str, source: str) -> "FleetRecord":
        """Return the fleet with a stream, or with another source of it.

        Raises:
            InputError: the stream is no name, or the source is no device of the fleet.
        """
        if self.account(source).role is not Role.DEVICE:
            raise InputError(f"{source} is no device: it is the account of the role {self.account(source).role.value}")
        try:
            Account(source, Role.DEVICE, (stream,))
        except ValueError as error:
            raise InputError(str(error)) from None
        return self.model_copy(update={"sources": {**self.sources, stream: source}})

    def _with_rights(self, each: AccountRecord) -> Account:
        return Account(each.name, each.role, self._sourced_at(each.name) if each.role is Role.DEVICE else each.streams)

    def _sourced_at(self, device: str) -> tuple[str, ...]:
        return tuple(sorted(stream for stream, source in self.sources.items() if source == device))
