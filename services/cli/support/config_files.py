"""Documents of users, JSON and TOML: read, or refused with the file's name."""

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from shared.service_runtime import InputError

STANDARD_INPUT: Final = Path("-")


def read_text(path: Path) -> str:
    """Return a file's text, or that of the standard input for -.

    Raises:
        InputError: it cannot be read, or is no text.
    """
    try:
        return sys.stdin.read() if path == STANDARD_INPUT else path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text: {error}") from error


def read_json(path: Path) -> Any:
    """Return what a JSON file says.

    Raises:
        InputError: it cannot be read, or is not JSON.
    """
    return parse(read_text(path), json.loads, f"{path} is not JSON")


def read_toml(path: Path) -> Any:
    """Return what a TOML file says.

    Raises:
        InputError: it cannot be read, or is not TOML.
    """
    return parse(read_text(path), tomllib.loads, f"{path} is not TOML")


def parse(text: str, parser: Callable[[str], Any], complaint: str) -> Any:
    """Return what `parser` makes of a text.

    Raises:
        InputError: it is malformed, or nested too deeply.
    """
    try:
        return parser(text)
    except RecursionError as error:
        raise InputError(f"{complaint}: it is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{complaint}: {error}") from error
