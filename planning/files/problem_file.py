"""Problem files: JSON to Problem and back, with every fault named by its JSON path."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from planning.problem.problem import Model, Problem, RowTable
from shared.fields import Name
from shared.suggestions import closest_name

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_FAULTS: Final = 100
MAX_TRANSFERS: Final = 20_000_000
MAX_JOBS: Final = 1_000_000

_ADAPTER: TypeAdapter[Problem] = TypeAdapter(Problem)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a document, and where."""

    path: str
    message: str

    def __str__(self) -> str:
        """Return the one line that a person is shown."""
        return f"{self.path}: {self.message}"


class InvalidDocumentError(ValueError):
    """A document is malformed; ``faults`` names every place."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        """Keep the faults; the text is one line per fault."""
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


def read_problem(document: str | bytes, *, strategies: Collection[str] | None = None) -> Problem:
    """Read a problem from its JSON text.

    Args:
        document: the text of a problem file.
        strategies: names that the policy may choose from; None accepts any.

    Raises:
        InvalidDocumentError: with one fault per line and JSON path.
    """
    return problem_from_values(json_values(document), strategies=strategies)


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


def problem_from_values(values: object, *, strategies: Collection[str] | None = None) -> Problem:
    """Make a problem from plain JSON values.

    Raises:
        InvalidDocumentError: with every fault.
    """
    if not isinstance(values, dict):
        raise InvalidDocumentError((Fault("$", "expected an object"),))
    try:
        problem = _ADAPTER.validate_python(without_remarks(values))
    except ValidationError as exc:
        raise InvalidDocumentError(faults_of(exc)) from exc
    faults = tuple(_semantic_faults(problem, strategies))
    if faults:
        raise InvalidDocumentError(faults)
    return problem


def without_remarks(values: Mapping[str, object]) -> dict[str, object]:
    """Return the values of a file without its schema and its description."""
    return {key: value for key, value in values.items() if key not in ("$schema", "description")}


def problem_values(problem: Problem) -> dict[str, Any]:
    """Return the problem as plain JSON values, without the keys that only repeat a default."""
    values: dict[str, Any] = _ADAPTER.dump_python(problem, mode="json", by_alias=True, exclude_defaults=True)
    return {"version": problem.version, **values, "links": values.get("links", [])}


def write_problem(problem: Problem) -> str:
    """Return the problem as JSON text."""
    return json.dumps(problem_values(problem), indent=1, allow_nan=False)


def problem_schema() -> dict[str, Any]:
    """Return the JSON Schema of a problem file."""
    return file_schema(_ADAPTER)


def file_schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a file that people write, which may name its schema and describe itself."""
    schema = adapter.json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"]["$schema"] = {"type": "string"}
    schema["properties"]["description"] = {"type": "string"}
    return schema


def json_path(location: tuple[int | str, ...]) -> str:
    """Return ``$.devices.pi.block_ms.m[0]`` for the steps of a location."""
    steps = ("[" + str(step) + "]" if isinstance(step, int) else f".{_spelled(step)}" for step in location)
    return "$" + "".join(steps)


def faults_of(error: ValidationError) -> tuple[Fault, ...]:
    """Return one fault per error, without those that only follow from a deeper one."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    places = [tuple(entry["loc"]) for entry in errors]
    faults: dict[Fault, None] = {}
    for entry, place in zip(errors, places, strict=True):
        deeper = any(len(other) > len(place) and other[: len(place)] == place for other in places)
        if deeper and entry["type"] in ("too_short", "too_long"):
            continue
        if place and place[-1] == "[key]":
            place = (*place[:-2], f"{place[-2]} (key)")
        message = "unknown key" if entry["type"] == "unexpected_keyword_argument" else entry["msg"]
        faults[Fault(json_path(place), message[:1].lower() + message[1:])] = None
    return tuple(faults)[:MAX_FAULTS]


def _spelled(step: str) -> str:
    return step if step.isprintable() and len(step) < 80 else repr(step[:80])


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key {twice!r} is given twice in one object")
    return found


def _semantic_faults(problem: Problem, strategies: Collection[str] | None) -> Iterator[Fault]:
    for name, model in problem.models.items():
        yield from _model_faults(f"$.models.{_spelled(name)}", model)
        yield from _size_faults(problem, name, model)
    yield from _device_faults(problem)
    yield from _link_faults(problem)
    yield from _stream_faults(problem)
    yield from _policy_faults(problem, strategies)


def _model_faults(path: str, model: Model) -> Iterator[Fault]:
    count = len(model.blocks)
    for index, (source, target, _) in enumerate(model.edges or ()):
        if target >= count:
            yield Fault(f"{path}.edges[{index}]", f"block {target} does not exist, the model has {count} blocks")
        elif source >= target:
            yield Fault(f"{path}.edges[{index}]", f"from block {source} to {target}: blocks must be in running order")


def _size_faults(problem: Problem, name: str, model: Model) -> Iterator[Fault]:
    """Refuse what planning could not hold in memory: a number per cut, encoding and pair of devices."""
    able = sum(name in device.block_ms for device in problem.devices.values())
    encodings = 1 + max((len(block.codecs) for block in model.blocks), default=0)
    if (size := len(model.blocks) * encodings * able**2) > MAX_TRANSFERS:
        message = f"{len(model.blocks)} blocks on {able} devices with {encodings} encodings make {size} transfers"
        yield Fault(f"$.models.{_spelled(name)}", f"{message}, more than {MAX_TRANSFERS}")


def _device_faults(problem: Problem) -> Iterator[Fault]:
    for name, device in problem.devices.items():
        for model, times in device.block_ms.items():
            path = f"$.devices.{_spelled(name)}.block_ms.{_spelled(model)}"
            if model not in problem.models:
                yield Fault(path, f"there is no model {model}")
            elif len(times) != (count := len(problem.models[model].blocks)):
                yield Fault(path, f"{_counted(len(times), 'value')}, but model {model} has {_counted(count, 'block')}")
        for model, tables in device.row_ms.items():
            yield from _row_faults(problem, f"$.devices.{_spelled(name)}.row_ms.{_spelled(model)}", model, tables)


def _row_faults(problem: Problem, path: str, model: Name, tables: tuple[RowTable | None, ...]) -> Iterator[Fault]:
    if model not in problem.models:
        yield Fault(path, f"there is no model {model}")
        return
    blocks = problem.models[model].blocks
    if len(tables) != len(blocks):
        has = _counted(len(blocks), "block")
        yield Fault(path, f"{_counted(len(tables), 'table')}, but model {model} has {has}: give null for the others")
        return
    for index, (table, block) in enumerate(zip(tables, blocks, strict=True)):
        if not table:
            continue
        if block.rows is None:
            yield Fault(f"{path}[{index}]", f"block {index} of model {model} has no rows: give its output_rows")
            continue
        counts = [count for count, _ in table]
        if any(later <= earlier for earlier, later in pairwise(counts)):
            yield Fault(f"{path}[{index}]", "the numbers of rows must ascend")
        if counts[-1] >= block.rows.output_rows:
            most = block.rows.output_rows
            yield Fault(f"{path}[{index}]", f"{counts[-1]} of {most} rows: what all rows cost belongs to block_ms")


def _link_faults(problem: Problem) -> Iterator[Fault]:
    seen: set[tuple[Name, Name]] = set()
    for index, link in enumerate(problem.links):
        path = f"$.links[{index}]"
        for key, device in (("from", link.source), ("to", link.target)):
            if device not in problem.devices:
                yield Fault(f"{path}.{key}", f"there is no device {device}")
        if link.source == link.target:
            yield Fault(path, f"joins {link.source} to itself")
        if (link.source, link.target) in seen:
            yield Fault(path, f"from {link.source} to {link.target} is given twice")
        seen.add((link.source, link.target))


def _stream_faults(problem: Problem) -> Iterator[Fault]:
    jobs = sum(stream.jobs for stream in problem.streams)
    if jobs > MAX_JOBS:
        yield Fault("$.streams", f"{jobs} jobs of all streams together, more than {MAX_JOBS}")
    seen: set[Name] = set()
    for index, stream in enumerate(problem.streams):
        path = f"$.streams[{index}]"
        if stream.name in seen:
            yield Fault(f"{path}.name", f"stream {stream.name} is given twice")
        seen.add(stream.name)
        if stream.model not in problem.models:
            yield Fault(f"{path}.model", f"there is no model {stream.model}")
        for key, device in (("source", stream.source), ("sink", stream.sink)):
            if device is not None and device not in problem.devices:
                yield Fault(f"{path}.{key}", f"there is no device {device}")


def _policy_faults(problem: Problem, strategies: Collection[str] | None) -> Iterator[Fault]:
    policy = problem.policy
    if strategies is not None and policy.strategy not in strategies:
        known = ", ".join(sorted(strategies))
        near = closest_name(policy.strategy, strategies)
        yield Fault("$.policy.strategy", f"there is no strategy {policy.strategy}{near}; known: {known}")
    for key, names in (("allow", policy.devices.allow or ()), ("deny", policy.devices.deny)):
        for index, name in enumerate(names):
            if name not in problem.devices:
                yield Fault(f"$.policy.devices.{key}[{index}]", f"there is no device {name}")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
