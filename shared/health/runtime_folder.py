"""Folder of the sockets at which the services of this machine answer for their health.

Only modules of the standard library: a probe imports this, and must not take longer than its answer.
"""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Where systemd puts the `RuntimeDirectory=segue` of a service of the system.
SYSTEM_FOLDER: Final = Path("/run/segue")
# Rights of others to write.
_OTHERS_WRITE: Final = 0o022


def runtime_folders(environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return where sockets may lie: the first is where a service of this environment puts its own.

    Args:
        environment: `RUNTIME_DIRECTORY` is set by systemd, `XDG_RUNTIME_DIR` for a user who has logged in.
    """
    found = []
    # systemd lists several folders with colons between them.
    if given := environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        found.append(Path(given))
    if given := environment.get("XDG_RUNTIME_DIR", ""):
        found.append(Path(given) / "segue")
    found += [Path(tempfile.gettempdir()) / f"segue-{os.getuid()}", SYSTEM_FOLDER]
    return tuple(dict.fromkeys(found))


def make_runtime_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for the socket of a service: the first that can be used, made if it is not there.

    Raises:
        OSError: none can be used. A folder in which other users could pose as this service does not count.
    """
    fault: OSError = FileNotFoundError("there is no folder for its socket")
    for folder in runtime_folders(environment):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            fault = error
            continue
        if is_trusted(folder):
            return folder
        fault = PermissionError(f"{folder} belongs to another user, or others can write into it")
    raise fault


def is_trusted(folder: Path) -> bool:
    """Return whether a folder is one into which only this user, or the system, can put a socket."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    # systemd has made that of the system, for the user of its services.
    is_ours = found.st_uid in (os.getuid(), 0) or folder == SYSTEM_FOLDER
    return stat.S_ISDIR(found.st_mode) and not found.st_mode & _OTHERS_WRITE and is_ours
