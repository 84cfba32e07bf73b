"""Hypothesis strategies that make any message class from its annotations."""

import itertools
import types
import typing
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MinLen
from hypothesis import strategies as st
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo

from shared.messages.control import SegmentRange
from shared.messages.devices import BlockRowTimes
from shared.messages.models import FilePacking, Manifest, ModelVersion
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, PlanTile, Stages

# Without control characters: identifiers with them are refused, and texts come back without them.
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=20)


def messages(kind: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Return a strategy of valid instances of `kind`."""
    fields = {name: _field(field) for name, field in kind.model_fields.items() if name != "schema_version"}
    if kind is SegmentRange:
        return _ranges(fields)
    if kind is BlockRowTimes:
        points = st.dictionaries(st.integers(1, 1000), st.floats(0, 1e6), min_size=1, max_size=3)
        fields["points"] = points.map(lambda made: tuple(sorted(made.items())))
    if kind is PlanRoute:
        fields["stages"] = _stages()
    if kind is Manifest:
        fields |= {"size_bytes": st.integers(1, 1024), "packing": st.none() | _packings()}
    if kind is CommittedPlan:
        fields["routes"] = messages(PlanRoute).map(lambda route: (route,) * 2)
    if kind is ModelVersion:
        return messages(Manifest).flatmap(
            lambda manifest: st.builds(
                kind, **fields | {"model": st.just(manifest.model), "manifest": st.just(manifest)}
            )
        )
    return st.builds(kind, **fields)


def _packings() -> st.SearchStrategy[FilePacking]:
    """Return a strategy of packings of files that have one piece."""
    digests = st.binary(min_size=32, max_size=32)
    return st.builds(FilePacking, graph_start=st.just(0), piece_bytes=st.integers(1024, 2**40), piece_sha256=digests)


def _ranges(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[SegmentRange]:
    """Return a strategy of segments, some of which are tiles, or have tiles behind them."""
    fields |= {"start": st.integers(0, 99), "stop": st.integers(100, 200), "rows": st.none() | _rows()}
    following = st.just((0, ())) | st.tuples(st.integers(201, 300), st.lists(_rows(), min_size=1, max_size=3))
    return following.flatmap(
        lambda chosen: st.builds(
            SegmentRange, **fields | {"next_stop": st.just(chosen[0]), "next_rows": st.just(tuple(chosen[1]))}
        )
    )


def _rows() -> st.SearchStrategy[tuple[int, int]]:
    """Return a strategy of ranges that are not empty."""
    return st.tuples(st.integers(0, 500), st.integers(501, 1000))


def _stages() -> st.SearchStrategy[tuple[PlanStage, ...]]:
    """Return a strategy of whole routes, which begin at block 0 and have no gap; some of their stages have tiles."""
    cuts = st.lists(st.integers(1, 200), min_size=1, max_size=3, unique=True).map(sorted)
    codecs, devices = (_field(PlanStage.model_fields[name]) for name in ("codec", "device"))
    heights = st.lists(st.integers(1, 1000), max_size=2, unique=True).map(sorted)
    return st.tuples(cuts, codecs, devices, heights).map(
        lambda made: tuple(
            PlanStage(
                start=start,
                stop=stop,
                codec=made[1],
                device=made[2],
                tiles=_tiles(made[2], made[3]) if start > 0 and stop < made[0][-1] else (),
            )
            for start, stop in itertools.pairwise((0, *made[0]))
        )
    )


def _tiles(device: str, bottoms: list[int]) -> tuple[PlanTile, ...]:
    if len(bottoms) < 2:
        return ()
    devices = (device, f"{device[:40]}2")
    rows = itertools.pairwise((0, *bottoms))
    return tuple(PlanTile(device=name, rows=own) for name, own in zip(devices, rows, strict=True))


def _field(field: FieldInfo) -> st.SearchStrategy[Any]:
    if field.annotation == get_args(Stages)[0]:
        return _stages()
    return _type(field.annotation, tuple(field.metadata))


def _type(annotation: Any, metadata: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0], (*metadata, *arguments[1:]))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of(*(_type(argument) for argument in arguments))
    if origin is tuple and arguments[-1] is not Ellipsis:
        return st.tuples(*(_type(argument) for argument in arguments))
    if origin is tuple:
        least = max((item.min_length for item in _flat(metadata) if isinstance(item, MinLen)), default=0)
        return st.lists(_type(arguments[0]), min_size=least, max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXT, st.one_of(st.integers(-(2**40), 2**40), TEXT, st.booleans()), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return messages(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return st.sampled_from(list(annotation))
    return _scalar(annotation, metadata)


def _flat(metadata: tuple[Any, ...]) -> list[Any]:
    return [item for part in metadata for item in _parts(part)]


def _parts(part: Any) -> list[Any]:
    if isinstance(part, GroupedMetadata) and not isinstance(part, StringConstraints):
        return list(part)
    return getattr(part, "metadata", None) or [part]


def _scalar(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    flat = _flat(metadata)
    low: Any = next((item.ge for item in flat if isinstance(item, Ge)), None)
    above: Any = next((item.gt for item in flat if isinstance(item, Gt)), None)
    high: Any = next((item.le for item in flat if isinstance(item, Le)), None)
    below: Any = next((item.lt for item in flat if isinstance(item, Lt)), None)
    pattern = next((str(item.pattern) for item in flat if isinstance(item, StringConstraints) and item.pattern), None)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        lowest = low if low is not None else above + 1 if above is not None else -(2**50)
        highest = high if high is not None else below - 1 if below is not None else 2**50
        return st.integers(lowest, highest)
    if annotation is float:
        lowest = low if low is not None else above if above is not None else -1e12
        return st.floats(lowest, high if high is not None else 1e12, exclude_min=above is not None)
    if annotation is bytes:
        return st.binary(max_size=40)
    if annotation is str:
        return st.from_regex(pattern.replace("$", r"\Z")) if pattern else TEXT
    if annotation is types.NoneType:
        return st.none()
    raise TypeError(f"no strategy for {annotation!r}")
