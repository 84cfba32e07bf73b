"""`segue fleet bridge`: the broker of a further site, bridged to the first one of the fleet."""

from pathlib import Path
from typing import Annotated

import typer

from broker.fleet_folder import FleetFolder
from broker.site_folder import set_site, write_site
from services.cli.commands.closed_fleet_commands import FLEET, Fleet
from services.cli.render.console import notes_console, results_console
from shared.exit_status import InputError


def bridge_command(
    site: Annotated[str, typer.Argument(metavar="SITE", help="Name of the site.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder of its Mosquitto, to be carried to the site's machine.",
            show_default=False,
        ),
    ],
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="Name or address of its broker, for devices there; repeat it.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Its TCP port; that of the first broker if not given.", show_default=False),
    ] = None,
    at: Annotated[
        Path | None,
        typer.Option(
            "--at",
            metavar="DIR",
            help="Where the folder will lie on the site's machine; the same path if not given.",
            show_default=False,
        ),
    ] = None,
    first_host: Annotated[
        str | None,
        typer.Option(
            "--first-host",
            help="How its bridge reaches the first broker, whose certificate must have it; the fleet's first host if "
            "not given.",
            show_default=False,
        ),
    ] = None,
    twin: Annotated[
        bool | None,
        typer.Option(
            "--twin/--no-twin",
            help="A second broker for the members of the first one, behind the same name. Everything crosses.",
            show_default=False,
        ),
    ] = None,
    fleet: Fleet = FLEET,
) -> None:
    """Write the folder of a further site's Mosquitto, with a bridge to the first one.

    Only what must cross is bridged: no feature maps and no photographs of routes within a site. If the bridge is cut,
    both sites go on, and what must cross waits. Devices and applications of the site are added with --site. Write the
    folder again after each change of accounts and streams, anywhere, carry it over, and restart the site's Mosquitto.
    """
    out, place = out.absolute(), at or out.absolute()
    try:
        with FleetFolder.changing(fleet) as opened:
            set_site(opened, site, tuple(host or ()), port, first_host=first_host, is_twin=twin)
            crossing = write_site(opened, site, out, at)
        is_running = opened.reload_broker()
    except OSError as error:
        raise InputError(f"{error.filename or out}: {error.strerror or error}") from None
    results_console().print(
        f"the broker of {site} is in {out}: {crossing} topics cross\n"
        f"carry it to {place} there (it holds secrets), and start it:  mosquitto -c {place}/mosquitto.conf\n"
        f"or as a service:  segue fleet install --site {place}\n"
        f"devices there:    segue fleet add-device NAME --site {site} --fleet {fleet}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    if not is_running:
        notes_console().print(
            f"no broker of this fleet runs here: segue broker --fleet {fleet}", soft_wrap=True, markup=False
        )
