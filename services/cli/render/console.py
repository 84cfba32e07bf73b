"""Consoles that print text from users and files unchanged but never let it control the terminal."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import typer
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

# Characters that move the cursor, change colours or reverse the writing direction. Line feeds and tabs are allowed.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# Faults of one input that are printed. The first ones tell most: later ones are often their consequences.
MAX_FAULT_LINES: Final = 20


def results_console() -> Console:
    """Return the console for results: standard output."""
    return make_console()


def notes_console() -> Console:
    """Return the console for progress, notes and warnings: standard error."""
    return make_console(stderr=True)


def make_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Return a console that prints brackets in names unchanged and escapes control characters."""
    console = Console(stderr=stderr, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False)
    console.push_render_hook(_EscapeHook())
    return console


def print_json(document: Any, *, indent: int = 2) -> None:
    """Print one JSON document on standard output."""
    typer.echo(json.dumps(document, indent=indent, allow_nan=False))


def visible(text: str) -> str:
    r"""Return a text with its control characters escaped: `\x1b` for the one that starts terminal commands."""
    return _CONTROL.sub(lambda match: _escaped(ord(match.group())), text)


def fault_lines(lines: Sequence[str]) -> Iterator[str]:
    """Yield the first `MAX_FAULT_LINES` faults, escaped, and a line with the number of the others."""
    yield from map(visible, lines[:MAX_FAULT_LINES])
    if len(lines) > MAX_FAULT_LINES:
        yield f"and {len(lines) - MAX_FAULT_LINES} more"


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class _EscapeHook(RenderHook):
    """Wraps everything that is printed in `_Escaped`."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Escaped(renderable) for renderable in renderables]


class _Escaped:
    """A renderable whose text has its control characters escaped."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _escaped_segments(console.render(self._inner, options))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._inner)


def _escaped_segments(segments: Iterable[Segment]) -> Iterable[Segment]:
    # Rich itself emits control segments (cursor movements of `Live`). Their text must reach the terminal unchanged.
    for segment in segments:
        yield segment if segment.control else Segment(visible(segment.text), segment.style)
