"""The files of a Mosquitto of a fleet: written, and given to the user as which it runs."""

import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.authority import CertifiedKey
from shared.secret_files import write_secret

MOSQUITTO_USER: Final = "mosquitto"


def user_of_broker(folder: Path) -> str | None:
    """Return the user to whom Mosquitto changes: for root its own, if it reaches a folder; None for other users."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(MOSQUITTO_USER)
    except KeyError:
        return "root"
    can_pass = all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))
    return MOSQUITTO_USER if can_pass else "root"


def write_broker_files(
    folder: Path, configuration: str, rules: str, password_hashes: Mapping[str, str], user: str | None
) -> None:
    """Write what Mosquitto reads, the rules before the passwords: no account is without rules.

    Args:
        folder: of the files, which exists.
        configuration: for `mosquitto.conf`.
        rules: access control list.
        password_hashes: by user name.
        user: the owner of the files; None for the user who runs this.

    Raises:
        OSError: the folder cannot be written.
    """
    write_secret(folder / "rules", rules)
    write_secret(folder / "passwords", "".join(f"{name}:{hashed}\n" for name, hashed in password_hashes.items()))
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    write_secret(folder / "mosquitto.conf", configuration)
    give_to(folder, user)


def give_to(folder: Path, user: str | None) -> None:
    """Give a folder and what lies in it to a user; None to leave it.

    Raises:
        OSError: this user may not.
    """
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user)


def write_certificate(folder: Path, certified: CertifiedKey) -> None:
    """Write the certificate and the key of a broker.

    Raises:
        OSError: the folder cannot be written.
    """
    write_secret(folder / "server.key", certified.key_pem)
    write_secret(folder / "server.pem", certified.certificate_pem)
