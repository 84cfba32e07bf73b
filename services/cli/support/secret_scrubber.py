"""Removal of secrets from text that people send to others: values that are known, and what looks like a secret."""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

REMOVED: Final = "[removed]"
# Shorter values are parts of ordinary words: patterns alone find them.
_MIN_KNOWN: Final = 4
_MAX_FILE_BYTES: Final = 65_536
_MAX_FILES: Final = 5_000

_SECRET_NAME: Final = (
    r"[\w.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|credential|api[_-]?key|private|signing[_-]?key|authorization)"
    r"[\w.-]*"
)
_SECRET_KEY: Final = re.compile(_SECRET_NAME, re.IGNORECASE)
# Each with what stays before the secret as group 1.
_PATTERNS: Final = tuple(
    re.compile(pattern, flags)
    for pattern, flags in (
        (r"()-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        # Enrolment strings; passwords in addresses; hashes of password files.
        (r"(segue\d\.)[A-Za-z0-9_=-]{8,}", 0),
        (r"(\w+://[^\s/:@\"']*:)[^\s/\"']+(?=@)", 0),
        (r"()\$\d\w?\$[A-Za-z0-9+/=.,$_-]{8,}", 0),
        # `password: x`, `"token": "x"`, `SEGUE_PASSWORD=x`, `--password x`, `-P x`.
        (
            rf"(\b{_SECRET_NAME}\\?[\"']?\s*[:=]\s*\\?[\"']?(?:(?:bearer|basic)\s+)?+)(?!\[removed\])[^\s\"'\\,;}}]+",
            re.IGNORECASE,
        ),
        (r"(--[\w-]*(?:password|secret|token)[\w-]*[ =]|(?<!\S)-P[ =]?)(?!\[removed\])\S+", re.IGNORECASE),
        (r"(\b(?:bearer|basic)\s+)(?!\[removed\])[A-Za-z0-9+/=._-]{8,}", re.IGNORECASE),
        # The secret part of the client ids of services (`shared.client_secret`).
        (r"(\b[A-Za-z][\w.-]*-)[0-9a-f]{16}\b", 0),
    )
)


class SecretScrubber:
    """Replaces secrets in text.

    Args:
        known: values that must not be seen. They are also found percent-encoded and as JSON escapes them.
    """

    def __init__(self, known: Iterable[str]) -> None:
        forms = {form for value in known for form in _forms(value.strip()) if len(form) >= _MIN_KNOWN}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def scrub(self, text: str) -> str:
        """Return the text without secrets."""
        if self._known is not None:
            text = self._known.sub(REMOVED, text)
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\g<1>{REMOVED}", text)
        return text

    def scrub_document(self, value: Any) -> Any:
        """Return a JSON value with every text in it scrubbed, and without the values of names such as `password`."""
        match value:
            case str():
                return self.scrub(value)
            case dict():
                return {
                    self.scrub(str(name)): REMOVED
                    if isinstance(each, str) and each and _SECRET_KEY.fullmatch(str(name))
                    else self.scrub_document(each)
                    for name, each in value.items()
                }
            case list() | tuple():
                return [self.scrub_document(each) for each in value]
            case _:
                return value


def secrets_in_environment(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets in a process' environment: variables with such a name, and passwords in addresses."""
    for name, value in environment.items():
        if _SECRET_KEY.fullmatch(name):
            yield value
        yield from _passwords_in_address(value)


def secrets_in_folders(folders: Iterable[Path]) -> Iterator[str]:
    """Yield the secrets in files of fleets, accounts and services: passwords, keys, hashes. It blocks.

    Files that cannot be read are passed over: what this user cannot read, nothing here can show.
    """
    left = _MAX_FILES
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            with contextlib.suppress(OSError):
                if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
                    continue
                left -= 1
                if left < 0:
                    return
                yield from _secrets_in_file(path)


def _secrets_in_file(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    if path.suffix == ".key" or path.name == "client_secret":
        # PEM as a whole and by line, as logs may show a line.
        yield text
        yield from (line for line in text.splitlines() if not line.startswith("-----"))
    elif path.name == "passwords":
        yield from (line.partition(":")[2] for line in text.splitlines())
    elif path.suffix == ".env":
        yield from secrets_in_environment(dict(line.split("=", 1) for line in text.splitlines() if "=" in line))
    elif path.suffix == ".json":
        with contextlib.suppress(ValueError):
            yield from _secrets_in_document(json.loads(text), is_secret=False)


def _secrets_in_document(value: Any, is_secret: bool) -> Iterator[str]:
    match value:
        case str() if is_secret:
            yield value
        case str():
            yield from _passwords_in_address(value)
        case dict():
            for name, each in value.items():
                yield from _secrets_in_document(each, is_secret or _SECRET_KEY.fullmatch(str(name)) is not None)
        case list():
            for each in value:
                yield from _secrets_in_document(each, is_secret)


def _passwords_in_address(text: str) -> Iterator[str]:
    if "@" not in text:
        return
    with contextlib.suppress(ValueError):
        password = urlsplit(text if "://" in text else f"mqtt://{text}").password
        if password:
            yield password
            yield unquote(password)


def _forms(value: str) -> Iterator[str]:
    yield value
    yield quote(value, safe="")
    yield json.dumps(value)[1:-1]
