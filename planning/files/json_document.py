"""JSON documents that people write: their values, their schemas, and their faults with paths."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
# Largest number of faults in one report.
MAX_FAULTS: Final = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a document, and its JSON path."""

    path: str
    message: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.path}: {self.message}"


class InvalidDocumentError(ValueError):
    """A document is malformed; ``faults`` names every place."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        """Keep the faults; the text is one line per fault."""
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


def json_values(document: str | bytes) -> object:
    """Return the values of a JSON text.

    Raises:
        InvalidDocumentError: if it is no JSON, gives a key twice, or is too large.
    """
    if len(document) > MAX_FILE_BYTES:
        raise InvalidDocumentError((Fault("$", f"larger than {MAX_FILE_BYTES} bytes"),))
    try:
        values: object = json.loads(document, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as exc:
        raise InvalidDocumentError((Fault("$", f"not JSON: {exc}"),)) from exc
    return values


def without_remarks(values: Mapping[str, object]) -> dict[str, object]:
    """Return the values of a file without its schema and its description."""
    return {key: value for key, value in values.items() if key not in ("$schema", "description")}


def file_schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a file that may name its schema and describe itself."""
    schema = adapter.json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"]["$schema"] = {"type": "string"}
    schema["properties"]["description"] = {"type": "string"}
    return schema


def json_path(location: tuple[int | str, ...]) -> str:
    """Return ``$.devices.pi.block_ms.m[0]`` for the steps of a location."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{printable_key(step)}" for step in location)


def printable_key(key: str) -> str:
    """Return a key for a path: quoted and shortened if it is long or not printable."""
    return key if key.isprintable() and len(key) < 80 else repr(key[:80])


def faults_of(error: ValidationError) -> tuple[Fault, ...]:
    """Return one fault per error, without those that only follow from a deeper one."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    places = [tuple(entry["loc"]) for entry in errors]
    faults: dict[Fault, None] = {}
    for entry, place in zip(errors, places, strict=True):
        # A collection whose items are all faulty is also too short: pydantic counts only the items that are valid.
        deeper = any(len(other) > len(place) and other[: len(place)] == place for other in places)
        if deeper and entry["type"] in ("too_short", "too_long"):
            continue
        if place and place[-1] == "[key]":
            place = (*place[:-2], f"{place[-2]} (key)")
        message = "unknown key" if entry["type"] == "unexpected_keyword_argument" else entry["msg"]
        faults[Fault(json_path(place), message[:1].lower() + message[1:])] = None
    return tuple(faults)[:MAX_FAULTS]


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key {twice!r} is given twice in one object")
    return values
