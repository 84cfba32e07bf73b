"""Folders of the user in which commands and services keep data, by the platform's conventions."""

import os
import platform
from pathlib import Path
from typing import Final

# Of accounts, options and fleets that belong to the machine and not to a user.
SYSTEM_FOLDER: Final = Path("/etc/segue")


def user_data_folder() -> Path:
    """Return the folder for data that must survive: models, plans, journals, databases."""
    return _folder("XDG_DATA_HOME", Path(".local", "share"), Path("Library", "Application Support"))


def user_cache_folder() -> Path:
    """Return the folder for data that can be made again."""
    return _folder("XDG_CACHE_HOME", Path(".cache"), Path("Library", "Caches"))


def state_folder(data_dir: Path, device: str) -> Path:
    """Return the folder of what an executor keeps of its device: journal, and keys of planners."""
    return data_dir / "devices" / device


def _folder(variable: str, usual: Path, on_macos: Path) -> Path:
    if platform.system() == "Darwin":
        return Path.home() / on_macos / "segue"
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / usual) / "segue"
