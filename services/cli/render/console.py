"""Consoles that print what users and files gave as it is, but never let it steer the terminal."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Everything that moves the cursor, changes colours or the direction of writing; line feeds and tabs are left."""

MOST_TOLD: Final = 20
"""Faults that are told of one input."""


def visible(text: str) -> str:
    r"""Return a text whose control characters are written out: `\x1b` for the one that begins terminal commands."""
    return _CONTROL.sub(lambda found: _written_out(ord(found.group())), text)


def make_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Return a console that prints names as they are, brackets included, and control characters written out."""
    console = Console(stderr=stderr, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False)
    console.push_render_hook(_WriteOut())
    return console


def told(lines: Sequence[str]) -> Iterator[str]:
    """Yield the first of several faults, visible, and how many more there are: the first ones say most."""
    yield from map(visible, lines[:MOST_TOLD])
    if len(lines) > MOST_TOLD:
        yield f"and {len(lines) - MOST_TOLD} more"


def _written_out(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class _WriteOut(RenderHook):
    """Puts `_Visible` around everything that is printed."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Visible(renderable) for renderable in renderables]


class _Visible:
    """Something whose text has its control characters written out; styles are no text."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _written(console.render(self._inner, options))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._inner)


def _written(segments: Iterable[Segment]) -> Iterable[Segment]:
    for segment in segments:
        yield segment if segment.control else Segment(visible(segment.text), segment.style)
