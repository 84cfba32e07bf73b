"""Suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest_name(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean NAME?)`` with the known name closest to ``name``; the empty text if none is close."""
    matches = get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""
