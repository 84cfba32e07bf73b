"""Where an enrolment string goes: the terminal, a private file, or a QR code."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.render.console import notes_console
from shared.enrolment import Enrolment
from shared.secret_files import write_secret

EnrolmentOut = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write the enrolment string to this file, with mode 600."),
]
QrCode = Annotated[bool, typer.Option("--qr", help="Print it as a QR code as well; needs the package segno.")]


def deliver(enrolment: Enrolment, out: Path | None, qr: bool) -> None:
    """Print an enrolment string, or write it to a file, which `check_file` has found writable."""
    text = enrolment.to_text()
    if out is None:
        typer.echo(text)
    else:
        write_secret(out, text + "\n")
        notes_console().print(f"the enrolment string is in {out}; whoever reads it is {enrolment.account}")
    if qr:
        import segno

        segno.make(text, error="l").terminal(compact=True)
