"""A secret part of a service's client ids: a broker disconnects a client when another one connects under its id.

Client ids are not bound to accounts: MQTT leaves that to the broker, and Mosquitto can only make the account's name the
id, which allows one connection per account. So whoever has an account, and knows the id of a service, can disconnect it
again and again, or take over its persistent session. The secret stays the same across restarts, as a session needs it.
"""

import contextlib
import logging
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Final

from shared.bus.settings import BusSettings

_LOGGER = logging.getLogger(__name__)

_FILE: Final = "client_secret"
_BYTES: Final = 8


def with_client_secret(settings: BusSettings, folder: Path) -> BusSettings:
    """Return settings whose connections add the secret of a folder to their client ids. It blocks.

    Args:
        settings: where the broker is.
        folder: state folder of the service. The secret is made there if there is none. A folder that cannot be used
            is logged: the secret then lasts as long as the process.
    """
    try:
        secret = _read_or_make(folder)
    except (OSError, ValueError) as error:
        _LOGGER.warning("client ids change with the next start: %s", error)
        secret = secrets.token_hex(_BYTES)
    return replace(settings, client_secret=secret)


def _read_or_make(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _FILE
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    # Written aside and linked, so that two services of a device that start together have the same one, and whole.
    temporary = path.with_name(f"{_FILE}.{secrets.token_hex(_BYTES)}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    return _read(path)


def _read(path: Path) -> str:
    text = path.read_text(encoding="ascii").strip()
    if len(text) != 2 * _BYTES or not all(character in "0123456789abcdef" for character in text):
        raise ValueError(f"{path} holds no secret")
    return text
