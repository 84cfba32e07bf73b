"""Problem files: JSON to Problem and back."""

import json
from collections.abc import Collection
from typing import Any

from pydantic import TypeAdapter, ValidationError

from planning.files.json_document import (
    Fault,
    InvalidDocumentError,
    faults_of,
    file_schema,
    json_values,
    without_remarks,
)
from planning.files.problem_checks import semantic_faults
from planning.problem.problem import Problem

_ADAPTER: TypeAdapter[Problem] = TypeAdapter(Problem)


def read_problem(document: str | bytes, *, strategies: Collection[str] | None = None) -> Problem:
    """Read a problem from its JSON text.

    Args:
        document: the text of a problem file.
        strategies: names that the policy may choose from; None accepts any.

    Raises:
        InvalidDocumentError: with one fault per line and JSON path.
    """
    values = json_values(document)
    if not isinstance(values, dict):
        raise InvalidDocumentError((Fault("$", "expected an object"),))
    try:
        problem = _ADAPTER.validate_python(without_remarks(values))
    except ValidationError as exc:
        raise InvalidDocumentError(faults_of(exc)) from exc
    faults = tuple(semantic_faults(problem, strategies))
    if faults:
        raise InvalidDocumentError(faults)
    return problem


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
