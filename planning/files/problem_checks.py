"""Checks of a problem file beyond its schema: names that must exist, and sizes that must agree."""

from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Final

from planning.files.json_document import Fault, printable_key
from planning.problem.problem import Model, Problem, RowTable
from shared.fields import Name
from shared.suggestions import closest_name

# Largest number of transfers in the cost tables of a model: blocks x encodings x devices squared.
MAX_TRANSFERS: Final = 20_000_000
# Largest number of jobs of all streams together.
MAX_JOBS: Final = 1_000_000


def semantic_faults(problem: Problem, strategies: Collection[str] | None) -> Iterator[Fault]:
    """Yield every fault of a problem that its schema cannot exclude.

    Args:
        problem: as its file says.
        strategies: names that the policy may choose from; None accepts any.
    """
    for name, model in problem.models.items():
        yield from _model_faults(f"$.models.{printable_key(name)}", model)
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
    """Yield a fault if the cost tables, a number per cut, encoding and pair of devices, would not fit into memory."""
    able = sum(name in device.block_ms for device in problem.devices.values())
    encodings = 1 + max((len(block.codecs) for block in model.blocks), default=0)
    if (size := len(model.blocks) * encodings * able**2) > MAX_TRANSFERS:
        message = f"{len(model.blocks)} blocks on {able} devices with {encodings} encodings make {size} transfers"
        yield Fault(f"$.models.{printable_key(name)}", f"{message}, more than {MAX_TRANSFERS}")


def _device_faults(problem: Problem) -> Iterator[Fault]:
    for name, device in problem.devices.items():
        for model, times in device.block_ms.items():
            path = f"$.devices.{printable_key(name)}.block_ms.{printable_key(model)}"
            if model not in problem.models:
                yield Fault(path, f"there is no model {model}")
            elif len(times) != (count := len(problem.models[model].blocks)):
                yield Fault(path, f"{_counted(len(times), 'value')}, but model {model} has {_counted(count, 'block')}")
        for model, tables in device.row_ms.items():
            path = f"$.devices.{printable_key(name)}.row_ms.{printable_key(model)}"
            yield from _row_faults(problem, path, model, tables)
        for index, model in enumerate(device.untiled_models):
            if model not in problem.models:
                path = f"$.devices.{printable_key(name)}.untiled_models[{index}]"
                yield Fault(path, f"there is no model {model}")


def _row_faults(problem: Problem, path: str, model: Name, tables: tuple[RowTable | None, ...]) -> Iterator[Fault]:
    """Yield the faults of a device's tables of rows, which only tiles use."""
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
