"""Class names from files and from the metadata of ONNX files."""

import ast
import codecs
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from services.cli.support.config_files import parse
from shared.bounded_read import read_at_most
from shared.exit_status import InputError

# Keys under which a document or an ONNX file's metadata keeps class names.
_KEYS: Final = ("id2label", "names", "labels", "classes", "class_names", "categories")
# Keys of the name of one class, where a document describes classes by maps.
_NAME_KEYS: Final = ("name", "label", "display_name")
_YAML: Final = frozenset({".yaml", ".yml"})
_MAX_LABELS: Final = 1_000_000
_MAX_FILE_BYTES: Final = 64 * 2**20


def read_labels(path: Path, count: int | None = None) -> tuple[str, ...]:
    """Return the class names of a file in order.

    The file is UTF-8 (with or without a byte order mark) or UTF-16. It holds one name per line, or is JSON or YAML: a
    list of names, a map from numbers to names or back, or a document with one of these as `names`, `labels`, `classes`
    or `id2label`. A class without a name has an empty one. Empty lines between names are classes without a name only if
    the file has the right number of names with them.

    Args:
        path: the file.
        count: number of classes of the model, if known.

    Raises:
        InputError: the file cannot be read or holds no class names.
    """
    text = _read(path)
    if path.suffix.lower() in _YAML:
        labels = _from_document(_parse_yaml(text, path), count)
    elif path.suffix.lower() == ".json":
        labels = _from_document(parse(text, json.loads, f"the labels in {path} are not JSON"), count)
    else:
        document = _json_or_none(text)
        labels = _from_lines(text, count) if document is None else _from_document(document, count)
    if labels is None:
        raise InputError(f"{path} is no list of texts, and no map between numbers and texts")
    if not any(labels):
        raise InputError(f"{path} holds no class names")
    return labels


def labels_in_metadata(metadata: Mapping[str, str], count: int) -> tuple[tuple[str, ...], str]:
    """Return the class names in the metadata of an ONNX file, and why there are none that fit, if it has others.

    A value is JSON, a Python literal, lines, or a list with commas.

    Args:
        metadata: the file's metadata.
        count: number of classes of the model.
    """
    fault = ""
    for key in _KEYS:
        if not metadata.get(key, "").strip():
            continue
        labels = _from_text(metadata[key], count)
        if len(labels) == count and any(labels):
            return labels, ""
        fault = fault or f"the file's metadata {key!r} has {len(labels)} class names, not {count}: they are not used"
    return (), fault


def _read(path: Path) -> str:
    try:
        data = read_at_most(path, _MAX_FILE_BYTES)
        is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 or UTF-16: {error}") from error


def _parse_yaml(text: str, path: Path) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ModuleNotFoundError as error:
        raise InputError(f"reading {path} needs PyYAML, which is not installed: save the labels as JSON") from error
    try:
        # Of this loader, all scalars are texts: a class `no` is not turned into a truth value.
        return yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"the labels in {path} are not YAML: {error}") from error


def _json_or_none(text: str) -> Any:
    """Return the list or map in a JSON text; None for other texts, such as lines that begin with `[background]`."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _from_text(text: str, count: int) -> tuple[str, ...]:
    document = _json_or_none(text)
    if document is None:
        try:
            document = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            document = None
    labels = None if document is None else _from_document(document, count)
    if labels is None:
        commas = tuple(part.strip() for part in text.split(","))
        labels = commas if len(commas) == count else _from_lines(text, count)
    return labels


def _from_lines(text: str, count: int | None) -> tuple[str, ...]:
    # Not `splitlines`, which also ends lines at form feeds and other characters that names may contain.
    lines = tuple(line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    whole = lines[:-1] if not lines[-1] else lines
    last = max((index for index, line in enumerate(whole) if line), default=-1)
    named = tuple(line for line in whole if line)
    candidates = (named, whole, whole[: last + 1])
    return next((labels for labels in candidates if len(labels) == count), named)


def _from_document(document: Any, count: int | None) -> tuple[str, ...] | None:
    """Return the names in a decoded document; None if it has none."""
    if isinstance(document, Mapping):
        inner = next((document[key] for key in _KEYS if isinstance(document.get(key), Mapping | Sequence)), None)
        if inner is not None and not isinstance(inner, str):
            return _from_document(inner, count)
        return _from_map(document, count)
    if not isinstance(document, Sequence) or isinstance(document, str):
        return None
    names = tuple(map(_name, document))
    return None if None in names else tuple(name for name in names if name is not None)


def _from_map(document: Mapping[Any, Any], count: int | None) -> tuple[str, ...] | None:
    pairs = [(_index(key), _name(value)) for key, value in document.items()]
    if any(index is None for index, _ in pairs):
        pairs = [(_index(value), _name(key)) for key, value in document.items()]
    by_index = {index: name for index, name in pairs if index is not None and name is not None}
    if not by_index or len(by_index) != len(document) or max(by_index) >= _MAX_LABELS:
        return None
    first, last = min(by_index), max(by_index)
    # Counted from 1, if there would be one class too many otherwise.
    start = 1 if first == 1 and (last == count or (count is None and last == len(by_index))) else 0
    return tuple(by_index.get(index, "") for index in range(start, last + 1))


def _index(value: Any) -> int | None:
    """Return the number of a class: an integer, or its decimal digits."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _name(value: Any) -> str | None:
    """Return the name of a class: a text, the last text of a list such as `["n01440764", "tench"]`, or one in a map."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Mapping):
        return next((value[key].strip() for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    if isinstance(value, Sequence) and value and isinstance(value[-1], str):
        return value[-1].strip()
    return None
