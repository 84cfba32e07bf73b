"""Hypothesis strategies that make any message class from its annotations."""

import types
import typing
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from hypothesis import strategies as st
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def messages(kind: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Return a strategy of valid instances of `kind`."""
    fields = {name: _field(field) for name, field in kind.model_fields.items() if name != "schema_version"}
    return st.builds(kind, **fields)


def _field(field: FieldInfo) -> st.SearchStrategy[Any]:
    return _type(field.annotation, tuple(field.metadata))


def _type(annotation: Any, metadata: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0], (*metadata, *arguments[1:]))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of(*(_type(argument) for argument in arguments))
    if origin is tuple:
        return st.lists(_type(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXT, st.one_of(st.integers(-(2**40), 2**40), TEXT, st.booleans()), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return messages(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return st.sampled_from(list(annotation))
    return _scalar(annotation, metadata)


def _scalar(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    flat = [item for part in metadata for item in (getattr(part, "metadata", None) or [part])]
    low: Any = next((item.ge for item in flat if isinstance(item, Ge)), None)
    above: Any = next((item.gt for item in flat if isinstance(item, Gt)), None)
    high: Any = next((item.le for item in flat if isinstance(item, Le)), None)
    pattern = next((str(item.pattern) for item in flat if isinstance(item, StringConstraints) and item.pattern), None)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        lowest = low if low is not None else above + 1 if above is not None else -(2**50)
        return st.integers(lowest, 2**50)
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
