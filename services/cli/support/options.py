"""Command-line options that several commands share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.support.broker_access import OVERSEERS, broker_access
from shared.bus import topics
from shared.bus.roles import Role
from shared.bus.settings import BusSettings
from shared.exit_status import InputError
from shared.model.adaptation import Adaptation

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        "-b",
        envvar="SEGUE_BROKER",
        metavar="ADDRESS",
        help="mqtt://[USER:PASSWORD@]HOST[:PORT], mqtts://...?ca=FILE for TLS, or the file of an account. Not given: "
        "the account that has joined here, else mqtt://localhost:1883.",
        show_default=False,
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        envvar="SEGUE_INSECURE",
        help="Reach a broker on another machine without TLS or without an account.",
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

Dimensions = Annotated[
    list[str] | None,
    typer.Option(
        "--dim",
        metavar="NAME=SIZE",
        help="Size of a symbolic dimension, such as batch=1, in every input that has it; repeat it for more.",
        show_default=False,
    ),
]
InputValues = Annotated[
    list[str] | None,
    typer.Option(
        "--input-value",
        metavar="NAME=VALUE",
        help="Fix an input: a number, numbers with commas, or a .npy file. Requests then do not have it.",
        show_default=False,
    ),
]
KeptOutputs = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        metavar="NAME",
        help="Keep this output of the file and leave out those that are not named; repeat it for more.",
        show_default=False,
    ),
]
MaxCutTensors = Annotated[
    int | None,
    typer.Option(
        "--max-cut-tensors",
        min=1,
        help="Largest number of tensors that may cross a cut. Not given: one, and up to three where they pay.",
        show_default=False,
    ),
]


def broker_settings(broker: str | None, insecure: bool, roles: Sequence[Role] = OVERSEERS) -> BusSettings:
    """Return the settings of a person's connection to the broker; `broker_access` says from what.

    Raises:
        SettingsError, InputError: as from `broker_access`.
    """
    return broker_access(broker, insecure, roles).settings


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


def read_adaptation(
    input_shapes: list[str] | None,
    dimensions: list[str] | None,
    input_values: list[str] | None,
    outputs: list[str] | None,
) -> Adaptation:
    """Return what the options `--input-shape`, `--dim`, `--input-value` and `--output` choose.

    Raises:
        InputError: an option is not of its form, or names a file that cannot be read.
    """
    return Adaptation(
        read_input_shapes(input_shapes),
        dict(_size(option) for option in dimensions or ()),
        dict(_input_value(option) for option in input_values or ()),
        tuple(outputs or ()),
    )


def _size(option: str) -> tuple[str, int]:
    name, _, size = option.rpartition("=")
    if not name or not (size.isascii() and size.isdigit()):
        raise InputError(f"--dim {option!r} is not of the form batch=1")
    return name, int(size)


def _input_value(option: str) -> tuple[str, "ArrayLike"]:
    name, _, text = option.rpartition("=")
    if not name or not text:
        raise InputError(f"--input-value {option!r} is not of the form sr=16000")
    if text.endswith(".npy"):
        # Here, because services need no options of models: a monitor would hold 20 MiB for it.
        import numpy as np

        try:
            return name, np.asarray(np.load(text, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"--input-value {option!r}: {text} cannot be read: {error}") from error
    try:
        return name, [_number(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--input-value {option!r}: {text!r} is neither numbers nor a .npy file") from None


def _number(text: str) -> int | float:
    words = {"true": 1, "false": 0}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    try:
        return int(text)
    except ValueError:
        return float(text)


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
