"""Readers of users' JSON and TOML files that name the file in every error."""

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from shared.bounded_read import read_at_most
from shared.exit_status import InputError

STANDARD_INPUT: Final = Path("-")
_MAX_FILE_BYTES: Final = 64 * 2**20


def read_text(path: Path) -> str:
    """Return the text of a file, or of the standard input for `-`.

    Raises:
        InputError: the file cannot be read or is not UTF-8 text.
    """
    try:
        # Editors on Windows begin UTF-8 files with a byte order mark.
        if path == STANDARD_INPUT:
            return sys.stdin.read(_MAX_FILE_BYTES).removeprefix("\ufeff")
        return read_at_most(path, _MAX_FILE_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text: {error}") from error


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        InputError: the file cannot be read or is not JSON.
    """
    return parse(read_text(path), json.loads, f"{path} is not JSON")


def read_toml(path: Path) -> Any:
    """Return the tables of a TOML file.

    Raises:
        InputError: the file cannot be read or is not TOML.
    """
    return parse(read_text(path), tomllib.loads, f"{path} is not TOML")


def parse(text: str, parser: Callable[[str], Any], complaint: str) -> Any:
    """Return the value that `parser` reads from a text.

    Args:
        text: the document.
        parser: raises ValueError for a malformed document.
        complaint: beginning of the error message.

    Raises:
        InputError: the text is malformed or nested too deeply.
    """
    try:
        return parser(text)
    except RecursionError as error:
        raise InputError(f"{complaint}: it is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{complaint}: {error}") from error
