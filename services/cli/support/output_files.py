"""Checks of output paths before the long work whose result they receive."""

import os
from pathlib import Path

from shared.exit_status import InputError


def check_file(option: str, path: Path | None) -> None:
    """Check that a file can be written; None is always fine.

    Raises:
        InputError: it cannot; the text has the option's name and the remedy.
    """
    if path is None:
        return
    try:
        if path.is_dir():
            raise InputError(f"{option} {path}: that is a folder; name a file in it")
        if not path.parent.is_dir():
            raise InputError(f"{option} {path}: there is no folder {path.parent}; make it first")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InputError(f"{option} {path}: it may not be written; choose another place")
    except OSError as error:
        raise InputError(f"{option} {path}: {error.strerror}") from error


def make_folder(option: str, path: Path | None) -> None:
    """Make an output folder if there is none; None is always fine.

    Raises:
        InputError: the folder cannot be made or written to; the text has the option's name.
    """
    if path is None:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option} {path}: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"{option} {path}: nothing may be written there; choose another place")
