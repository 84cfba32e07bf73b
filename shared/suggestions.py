"""Suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest_name(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean NAME?)`` with the known name closest to ``name``; the empty text if none is close."""
    found = get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""
