"""The Mosquitto of a further site of a fleet: its folder, which is carried to the site's machine.

mosquitto.conf          with the bridge to the first broker
rules, passwords        of the accounts at the site, and of no other
server.pem, server.key  certificate of the fleet's authority
ca.pem                  the authority
data/                   of the running broker
"""

import secrets
from pathlib import Path
from typing import Final

from broker.access_files import access_rules, hashed_password
from broker.bridge_topics import bridge_topics
from broker.broker_files import user_of_broker, write_broker_files, write_certificate
from broker.fleet_configuration import BrokerBridge, mosquitto_configuration
from broker.fleet_folder import FleetFolder
from broker.fleet_record import SiteRecord
from shared.exit_status import InputError
from shared.secret_files import write_secret

_PASSWORD_BYTES: Final = 24
_MARK: Final = "mosquitto.conf"


def set_site(
    fleet: FleetFolder,
    name: str,
    hosts: tuple[str, ...],
    port: int | None,
    *,
    first_host: str | None = None,
    is_twin: bool | None = None,
) -> None:
    """Add a site to a fleet that is being changed, or change what is given of it.

    Raises:
        InputError: the name or a host is wrong, or the site is new and has no host.
        OSError: the folder of the fleet cannot be written.
    """
    known = next((each for each in fleet.record.sites if each.name == name), None)
    if known is None and not hosts:
        raise InputError(f"site {name} is new: say how its devices reach its broker, --host")
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    try:
        site = SiteRecord(
            name=name,
            hosts=hosts or (known.hosts if known is not None else ()),
            port=port or (known.port if known is not None else fleet.record.port),
            bridge_hash=hashed_password(password) if known is None else known.bridge_hash,
            first_host=first_host or (known.first_host if known is not None else None),
            is_twin=known is not None and known.is_twin if is_twin is None else is_twin,
        )
    except ValueError:
        raise InputError(f"this cannot be the name, a host or the port of a site: {name}, {', '.join(hosts)}") from None
    fleet.record = fleet.record.with_site(site)
    if known is None:
        password_file = _password_file(fleet, name)
        password_file.parent.mkdir(mode=0o700, exist_ok=True)
        write_secret(password_file, password + "\n")


def write_site(fleet: FleetFolder, name: str, folder: Path, place: Path | None = None) -> int:
    """Write the folder of a site's Mosquitto; return the number of topic filters of its bridge.

    Its broker gets a new certificate of the same authority, which nobody notices.

    Args:
        fleet: with the site.
        name: of the site.
        folder: to write.
        place: where it will lie on the machine of the site; None for the same path.

    Raises:
        InputError: there is no such site, or the folder holds something else.
        OSError: the folder cannot be written.
    """
    record = fleet.record
    site = record.site(name)
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise InputError(f"{folder} holds something else: name a folder that is not there yet")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_certificate(folder, fleet.certify(site.hosts))
    write_secret(folder / "ca.pem", (fleet.path / "authority" / "ca.pem").read_bytes())
    crossing = bridge_topics(record, name)
    bridge = BrokerBridge(
        site.first_host or record.hosts[0],
        record.port,
        site.bridge_account,
        _password_file(fleet, name).read_text(encoding="ascii").strip(),
        record.root,
        crossing,
    )
    user = user_of_broker(folder.parent) if place is None else None
    members = None if site.is_twin else name
    write_broker_files(
        folder,
        mosquitto_configuration(place or folder, site.hosts, site.port, user, bridge),
        access_rules(record.rights_at(members), record.root),
        {each.name: each.password_hash for each in record.accounts_at(members)},
        user,
    )
    return len(crossing)


def _password_file(fleet: FleetFolder, name: str) -> Path:
    return fleet.path / "sites" / f"{name}.password"
