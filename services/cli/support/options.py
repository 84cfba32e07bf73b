"""Command-line options that several commands share."""

from typing import Annotated

import typer

from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.exit_status import InputError

DEFAULT_BROKER = "mqtt://localhost:1883"

Broker = Annotated[
    str,
    typer.Option(
        "--broker",
        "-b",
        envvar="SEGUE_BROKER",
        metavar="ADDRESS",
        help="mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts://...?ca=FILE for TLS.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, for programs.")]
Timeout = Annotated[float, typer.Option("--timeout-s", min=0.1, help="Longest wait, in seconds.")]
StreamName = Annotated[str, typer.Argument(metavar="STREAM", help="The stream's name.", show_default=False)]
InputShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=1,3,224,224",
        help="Shape of an input whose shape the file leaves open; repeat it for more inputs.",
        show_default=False,
    ),
]


def broker_settings(broker: str) -> BusSettings:
    """Return the settings for a broker's address.

    Raises:
        SettingsError: the address is malformed.
    """
    return BusSettings.from_address(broker)


def check_name(name: str) -> None:
    """Check that a text can be a name on the bus.

    Raises:
        InputError: it cannot; the text states the rule.
    """
    if not topics.is_name(name):
        raise InputError(f"{name!r} is no name: 1 to 64 letters, digits, '_', '.', '-', the first a letter or digit")


def check_stream_name(stream: str) -> None:
    """Check that a text can be the name of a stream.

    Raises:
        InputError: it cannot.
    """
    if not topics.is_name(stream):
        raise InputError(f"{stream!r} is no stream name")


def no_such_stream(stream: str) -> InputError:
    """Return the error for a stream that is not declared."""
    return InputError(f"there is no stream {stream}; `segue stream list` lists those there are")


def read_input_shapes(options: list[str] | None) -> dict[str, tuple[int, ...]]:
    """Return the shapes that `--input-shape` gives, by input name.

    Raises:
        InputError: an option is not of the form name=1,3,224,224.
    """
    shapes = {}
    for option in options or ():
        name, equals, sizes = option.rpartition("=")
        try:
            shapes[name] = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            equals = ""
        if not equals or not name:
            raise InputError(f"--input-shape {option!r} is not of the form name=1,3,224,224")
    return shapes
