"""What somebody may have meant who wrote a name that is not known."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest_name(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean NAME?)`` with the known name that is most like ``name``; nothing if none is."""
    found = get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""
