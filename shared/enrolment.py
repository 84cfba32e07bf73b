"""What a device, a service or an application needs to join a fleet, as one line of text and as a file.

The line, an enrolment string, is `segue1.` and the base64url of a checksum and a msgpack map. It holds a password:
whoever reads it has the account. The certificate of the fleet's authority is part of it, so that the first connection
is verified already.
"""

import base64
import hashlib
import json
import ssl
from pathlib import Path
from typing import Annotated, Any, Final, Self

import msgpack
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from shared.bus.errors import SettingsError
from shared.bus.roles import Role
from shared.bus.settings import DEFAULT_ROOT, DEFAULT_TLS_PORT, BusSettings
from shared.messages.bounds import Name, PublicKey
from shared.secret_files import write_secret

PREFIX: Final = "segue1."
_CHECKSUM_BYTES: Final = 4
_MAX_BYTES: Final = 16_384


class Enrolment(BaseModel):
    """An account of a fleet, and how its broker is reached.

    Attributes:
        account: user name.
        role: what its holder is.
        password: of the account.
        host: name or address of the broker.
        port: its TCP port, which serves TLS.
        root: prefix of every topic.
        ca_pem: certificate of the fleet's authority.
        planner_keys: public keys of the fleet's planner, in hexadecimal.
        signing_key: private key of the planner, in hexadecimal. For the planner's account only.
    """

    model_config = ConfigDict(frozen=True)

    account: Name
    role: Role
    password: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(repr=False)
    host: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] = DEFAULT_TLS_PORT
    root: Annotated[str, StringConstraints(min_length=1, max_length=128)] = DEFAULT_ROOT
    ca_pem: Annotated[str, StringConstraints(max_length=8192)]
    planner_keys: Annotated[tuple[PublicKey, ...], Field(max_length=16)] = ()
    signing_key: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = Field("", repr=False)

    def to_text(self) -> str:
        """Return the enrolment string."""
        fields = self.model_dump(mode="json", exclude={"ca_pem"}, exclude_defaults=True)
        body = msgpack.packb({**fields, "ca": ssl.PEM_cert_to_DER_cert(self.ca_pem)})
        return PREFIX + base64.urlsafe_b64encode(_checksum(body) + body).rstrip(b"=").decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read an enrolment string. Line breaks and blanks in it do not count.

        Raises:
            SettingsError: it is none, or damaged. The text of the error has nothing of its content.
        """
        joined = "".join(text.split())
        if not joined.startswith(PREFIX):
            raise SettingsError(f"this is no enrolment string: it begins with {PREFIX!r} (`segue fleet add-device`)")
        encoded = joined.removeprefix(PREFIX)
        if len(encoded) > 2 * _MAX_BYTES:
            raise SettingsError("the enrolment string is too long")
        try:
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
            body = data[_CHECKSUM_BYTES:]
            if _checksum(body) != data[:_CHECKSUM_BYTES]:
                raise ValueError("the checksum does not fit")
            fields = msgpack.unpackb(body)
            fields["ca_pem"] = ssl.DER_cert_to_PEM_cert(fields.pop("ca"))
        except (KeyError, TypeError, AttributeError, ValueError, msgpack.UnpackException):
            # Errors of base64 are ValueErrors.
            raise SettingsError("the enrolment string is damaged or incomplete: copy it once more") from None
        return cls._read(fields)

    def write(self, folder: Path) -> Path:
        """Write the account into a folder, readable by this user only; return the file's path.

        Beside it lies the certificate of the authority, for other MQTT clients.

        Raises:
            OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = account_file(folder, self.account)
        write_secret(authority_file(path), self.ca_pem)
        fields = self.model_dump(mode="json", exclude={"ca_pem"})
        write_secret(path, json.dumps(fields, indent=1) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file of an account.

        Raises:
            SettingsError: it cannot be read. The text of the error has nothing of its content.
        """
        try:
            fields = {
                **json.loads(path.read_text(encoding="utf-8")),
                "ca_pem": authority_file(path).read_text(encoding="utf-8"),
            }
        except OSError as error:
            raise SettingsError(f"cannot read the account {error.filename}: {error.strerror}") from None
        except (ValueError, TypeError):
            raise SettingsError(f"{path} is no account of a fleet (`segue device join` writes one)") from None
        return cls._read(fields)

    @classmethod
    def _read(cls, fields: dict[str, Any]) -> Self:
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            # Without the values: one of them is the password.
            names = ", ".join(sorted({str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}))
            raise SettingsError(f"an account of a fleet has wrong fields: {names}") from None

    def settings(self, path: Path) -> BusSettings:
        """Return the settings of a connection with this account.

        Args:
            path: where `write` has put it.
        """
        return BusSettings(
            host=self.host,
            port=self.port,
            username=self.account,
            password=self.password,
            tls=True,
            tls_ca=str(authority_file(path)),
            root=self.root,
        )


def settings_from(broker: str) -> BusSettings:
    """Return the settings for a broker's address, or for the file of an account.

    Raises:
        SettingsError: the address is malformed, or the file cannot be read.
    """
    if not is_account_file(broker):
        return BusSettings.from_address(broker)
    return Enrolment.read(Path(broker)).settings(Path(broker))


def account_file(folder: Path, name: str) -> Path:
    """Return where `Enrolment.write` puts the account of this name."""
    return folder / f"{name}.json"


def is_account_file(text: str) -> bool:
    """Return whether a text names the file of an account, and not a broker's address."""
    return text.endswith(".json") and "://" not in text


def authority_file(path: Path) -> Path:
    """Return the file of the authority's certificate that lies beside the file of an account."""
    return path.with_name(f"{path.stem}.ca.pem")


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECKSUM_BYTES]
