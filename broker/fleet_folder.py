"""The folder of a fleet: its authority, its accounts, and the files of its Mosquitto.

fleet.json              accounts with hashed passwords, streams, hosts (mode 600, like all that is secret)
authority/              certificate and key of the authority, and the planner's signing key
accounts/NAME.json      accounts of this machine's services and people
broker/                 configuration, rules, passwords, certificate and data of Mosquitto
sites/NAME.password     password of the bridge of a further site
"""

import contextlib
import datetime
import fcntl
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import psutil
from pydantic import ValidationError

from broker.access_files import access_rules, bridge_rules, hashed_password
from broker.authority import Authority, CertifiedKey
from broker.bridge_topics import bridge_topics
from broker.broker_files import user_of_broker, write_broker_files, write_certificate
from broker.fleet_configuration import mosquitto_configuration
from broker.fleet_record import FleetRecord
from shared.bus.roles import Role
from shared.enrolment import Enrolment, account_file, authority_file
from shared.exit_status import InputError
from shared.secret_files import write_secret
from shared.signatures import SigningKey

# Accounts that every fleet has from the start.
FIRST_ACCOUNTS: Final = {role.value: role for role in (Role.PLANNER, Role.COLLECTOR, Role.OPERATOR, Role.VIEWER)}
_RECORD: Final = "fleet.json"
_PASSWORD_BYTES: Final = 24


class FleetFolder:
    """A fleet on disk. Open it with `create` or `open`; change it within `changing`.

    Attributes:
        path: of the folder, absolute.
        record: what it consists of.
    """

    def __init__(self, path: Path, record: FleetRecord) -> None:
        self.path = path.absolute()
        self.record = record

    @classmethod
    def create(cls, path: Path, hosts: tuple[str, ...], port: int, root: str) -> Self:
        """Make a fleet: authority, broker's certificate, and the accounts of planner, collector, operator and viewer.

        Raises:
            InputError: there is a fleet already, or a host, the port or the root is wrong.
            OSError: the folder cannot be written.
        """
        if (path / _RECORD).exists():
            raise InputError(f"there is a fleet in {path} already; `segue fleet list` shows it")
        # Its rights are changed below, which would be a surprise for a home folder.
        if path.exists() and not (path.is_dir() and next(path.iterdir(), None) is None):
            raise InputError(f"{path} is not an empty folder: name one that is not there yet")
        signing_key = SigningKey.generate()
        try:
            record = FleetRecord(hosts=hosts, port=port, root=root, planner_key=signing_key.public)
            authority = Authority.generate(_now())
            certified = authority.certify_broker(hosts, _now())
        except ValidationError as error:
            names = ", ".join(repr(fault["input"]) for fault in error.errors())
            raise InputError(f"this cannot be a host, the port or the root of a fleet: {names}") from None
        except ValueError as error:
            raise InputError(f"no certificate can be made for {', '.join(hosts)}: {error}") from None
        # Mosquitto's user must pass through the folder to its own one.
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o711)
        for name in ("authority", "accounts", "broker"):
            (path / name).mkdir(mode=0o700, exist_ok=True)
        folder = cls(path, record)
        write_secret(folder.path / "authority" / "ca.pem", authority.pair.certificate_pem)
        write_secret(folder.path / "authority" / "ca.key", authority.pair.key_pem)
        write_secret(folder.path / "authority" / "planner_signing.key", signing_key.private.hex() + "\n")
        folder._write_certificate(certified)
        for name, role in FIRST_ACCOUNTS.items():
            folder.add(name, role).write(folder.accounts)
        folder.save()
        return folder

    @classmethod
    @contextlib.contextmanager
    def changing(cls, path: Path) -> Iterator[Self]:
        """Open a fleet, alone among all processes, and save it at the end of the block unless it raises.

        Raises:
            InputError: there is none, or it is damaged.
            OSError: the folder cannot be written.
        """
        if not (path / _RECORD).exists():
            raise _no_fleet(path)
        with open(path / "lock", "a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder = cls.open(path)
            yield folder
            folder.save()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a fleet.

        Raises:
            InputError: there is none, or it is damaged, or belongs to another user.
        """
        try:
            return cls(path, FleetRecord.model_validate_json((path / _RECORD).read_bytes()))
        except FileNotFoundError:
            raise _no_fleet(path) from None
        except OSError as error:
            raise InputError(f"the fleet in {path} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            places = ", ".join(".".join(map(str, fault["loc"])) or "the document" for fault in error.errors()[:5])
            raise InputError(f"{path / _RECORD} is damaged: {places}") from None

    @property
    def accounts(self) -> Path:
        """Folder of the accounts that this machine's services and people use."""
        return self.path / "accounts"

    def account_file(self, name: str) -> Path:
        """Return the file of an account that this machine uses; there is none for others."""
        return account_file(self.accounts, name)

    @property
    def configuration(self) -> Path:
        """Mosquitto's configuration."""
        return self.path / "broker" / "mosquitto.conf"

    def add(self, name: str, role: Role, streams: tuple[str, ...] = (), site: str | None = None) -> Enrolment:
        """Add an account; return what its holder needs. Only the hash of the password stays here.

        Raises:
            InputError: the name is taken or wrong, or a stream is unknown.
        """
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        self.record = self.record.with_account(name, role, hashed_password(password), streams, site)
        return self._enrolment(name, role, password)

    def rotate(self, name: str) -> Enrolment:
        """Give an account a new password; return what its holder needs. The old one ends with `save`.

        Raises:
            InputError: there is no such account.
        """
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        self.record = self.record.with_password(name, hashed_password(password))
        return self._enrolment(name, self.record.account(name).role, password)

    def revoke(self, name: str) -> None:
        """Remove an account. The streams of a device lose their source.

        Raises:
            InputError: there is no such account.
        """
        self.record = self.record.without_account(name)
        account = self.account_file(name)
        for path in (account, authority_file(account)):
            path.unlink(missing_ok=True)

    def rotate_certificate(self) -> None:
        """Give the broker a new certificate and key of the same authority."""
        self._write_certificate(self.certify(self.record.hosts))

    def save(self) -> None:
        """Write the record and the broker's files, the rules before the passwords: no account is without rules."""
        broker = self.path / "broker"
        write_secret(self.path / _RECORD, self.record.model_dump_json(indent=1) + "\n")
        write_broker_files(
            broker,
            mosquitto_configuration(broker, self.record.hosts, self.record.port, self.broker_user()),
            self._rules(),
            {
                **{each.name: each.password_hash for each in self.record.accounts_at(None)},
                **{each.bridge_account: each.bridge_hash for each in self.record.sites},
            },
            self.broker_user(),
        )

    def broker_process(self) -> psutil.Process | None:
        """Return this fleet's Mosquitto on this machine; None if it does not run here."""
        try:
            process = psutil.Process(int((self.path / "broker" / "mosquitto.pid").read_text()))
            return process if str(self.configuration) in process.cmdline() else None
        except (OSError, ValueError, psutil.Error):
            return None

    def reload_broker(self) -> bool:
        """Let the running Mosquitto read accounts, rules and certificate again; return False if it does not run here.

        It disconnects clients whose account or password is gone.
        """
        process = self.broker_process()
        if process is None:
            return False
        process.send_signal(signal.SIGHUP)
        return True

    def _enrolment(self, name: str, role: Role, password: str) -> Enrolment:
        is_planner = role is Role.PLANNER
        authority = self.path / "authority"
        site = self.record.account(name).site
        reached = self.record if site is None else self.record.site(site)
        return Enrolment(
            account=name,
            role=role,
            password=password,
            host=reached.hosts[0],
            port=reached.port,
            root=self.record.root,
            ca_pem=(authority / "ca.pem").read_text(encoding="ascii"),
            planner_keys=(self.record.planner_key,),
            signing_key=(authority / "planner_signing.key").read_text(encoding="ascii").strip() if is_planner else "",
        )

    def certify(self, hosts: tuple[str, ...]) -> CertifiedKey:
        """Return a certificate of this fleet's authority for a broker.

        Raises:
            InputError: the authority cannot be read, or a host cannot be in a certificate.
        """
        pair = CertifiedKey(
            (self.path / "authority" / "ca.pem").read_bytes(), (self.path / "authority" / "ca.key").read_bytes()
        )
        try:
            return Authority.load(pair).certify_broker(hosts, _now())
        except ValueError as error:
            raise InputError(f"the authority in {self.path / 'authority'} makes no certificate: {error}") from None

    def _write_certificate(self, certified: CertifiedKey) -> None:
        write_certificate(self.path / "broker", certified)

    def _rules(self) -> str:
        record = self.record
        bridges = (
            bridge_rules(site.bridge_account, bridge_topics(record, site.name), record.root) for site in record.sites
        )
        return access_rules(record.rights_at(None), record.root) + "".join(bridges)

    def broker_user(self) -> str | None:
        """Return the user to whom Mosquitto changes: for root its own, if it reaches its files; None for others."""
        return user_of_broker(self.path)


def _no_fleet(path: Path) -> InputError:
    return InputError(f"there is no fleet in {path}: segue fleet init {path}, or name its folder with --fleet")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
