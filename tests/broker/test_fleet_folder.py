"""A fleet on disk, and what a running Mosquitto makes of its changes."""

import asyncio
import os
import ssl
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from broker.fleet_folder import FleetFolder
from broker.mosquitto import find_mosquitto
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.errors import AccessRefused, PublishForbidden
from shared.bus.roles import Role
from shared.bus.settings import BusSettings
from shared.enrolment import Enrolment
from shared.exit_status import InputError
from shared.signatures import SigningKey
from tests.support.fleet_broker import WAIT_S, make_fleet, own_settings, running, settings_of

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")


def certificate_of(settings: BusSettings) -> bytes:
    """Return the certificate that a broker shows."""
    return ssl.get_server_certificate((settings.host, settings.port), ca_certs=settings.tls_ca).encode()


def test_what_is_secret_is_private_and_no_password_is_kept(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    with FleetFolder.changing(fleet.path) as opened:
        camera = opened.add("camera", Role.DEVICE)
    files = [path for path in fleet.path.rglob("*") if path.is_file() and path.name != "lock"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE((fleet.path / name).stat().st_mode) for name in ("authority", "accounts", "broker")} == {0o700}
    assert not [path for path in files if camera.password in path.read_text(encoding="utf-8")]
    assert not [path for path in fleet.path.rglob("*.new")]


def test_the_planner_has_the_key_that_devices_follow(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    planner = Enrolment.read(fleet.accounts / "planner.json")
    device = fleet.add("camera", Role.DEVICE)
    assert device.planner_keys == (SigningKey(bytes.fromhex(planner.signing_key)).public,)
    assert device.signing_key == ""
    assert not any(Enrolment.read(fleet.accounts / f"{name}.json").signing_key for name in ("collector", "operator"))


def test_a_fleet_is_made_once_and_is_found_where_it_is(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    with pytest.raises(InputError, match=r"there is a fleet in .* already"):
        make_fleet(fleet.path)
    with pytest.raises(InputError, match=r"there is no fleet in .*: segue fleet init"):
        FleetFolder.open(tmp_path)
    with pytest.raises(InputError, match="there is no fleet"), FleetFolder.changing(tmp_path / "none"):
        pass
    (fleet.path / "fleet.json").write_text('{"hosts": []}', encoding="utf-8")
    with pytest.raises(InputError, match=r"fleet\.json is damaged: hosts, planner_key"):
        FleetFolder.open(fleet.path)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "two words",
        "a/b",
        "x" * 300,
        "grüße",
        "a\nuser root",
        "pi:8883",
        "[::1]",
        "fe80::1%eth0",
        "0.0.0.0",
        "::",
        "-a",
    ],
)
def test_a_host_that_cannot_be_one_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError, match="cannot be a host"):
        make_fleet(tmp_path / "fleet", host)
    assert not (tmp_path / "fleet").exists()


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letter.txt").write_text("x")
    for path in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(InputError, match="is not an empty folder"):
            make_fleet(path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    (tmp_path / "empty").mkdir()
    make_fleet(tmp_path / "empty")


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    before = {path: path.read_bytes() for path in fleet.path.rglob("*") if path.is_file()}

    def add_twice() -> None:
        with FleetFolder.changing(fleet.path) as opened:
            opened.add("camera", Role.DEVICE)
            opened.add("camera", Role.DEVICE)

    with pytest.raises(InputError, match="already"):
        add_twice()
    after = {path: path.read_bytes() for path in fleet.path.rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before


def test_a_broker_that_does_not_run_is_not_signalled(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    assert not fleet.reload_broker()
    # The number of a process that ended may be that of another one now: this test's own.
    (fleet.path / "broker" / "mosquitto.pid").write_text(str(os.getpid()), encoding="ascii")
    assert fleet.broker_process() is None
    assert not fleet.reload_broker()


@pytest.mark.mosquitto
@needs_mosquitto
async def test_the_running_broker_follows_every_change(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    async with running(fleet):
        with FleetFolder.changing(fleet.path) as opened:
            camera = settings_of(opened.add("camera", Role.DEVICE), tmp_path)
        assert opened.reload_broker()
        async with Connection.open(camera, connect_timeout_s=WAIT_S) as connection:
            # Sixty times the largest packet that brokers allow by themselves would be cut.
            await connection.publish(topics.inbox("camera"), b"x" * 3_000_000)
            with pytest.raises(PublishForbidden):
                await connection.publish(topics.telemetry("helper"), b"x")

            # A new password: the old one ends at once, also for the connection that is open.
            with FleetFolder.changing(fleet.path) as opened:
                renewed = settings_of(opened.rotate("camera"), tmp_path / "again")
            opened.reload_broker()
            await until_lost(connection)
        with pytest.raises(AccessRefused):
            async with Connection.open(camera, connect_timeout_s=WAIT_S):
                pass
        async with Connection.open(renewed, connect_timeout_s=WAIT_S) as connection:
            await connection.publish(topics.telemetry("camera"), b"x")

            with FleetFolder.changing(fleet.path) as opened:
                opened.revoke("camera")
            opened.reload_broker()
            await until_lost(connection)
        with pytest.raises(AccessRefused):
            async with Connection.open(renewed, connect_timeout_s=WAIT_S):
                pass


@pytest.mark.mosquitto
@needs_mosquitto
async def test_a_new_certificate_is_shown_and_verified_by_those_who_joined_before(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    settings = own_settings(fleet, "operator")
    async with running(fleet):
        before = await asyncio.to_thread(certificate_of, settings)
        with FleetFolder.changing(fleet.path) as opened:
            opened.rotate_certificate()
        opened.reload_broker()
        while await asyncio.to_thread(certificate_of, settings) == before:
            pass
        async with Connection.open(settings, connect_timeout_s=WAIT_S):
            pass


@pytest.mark.mosquitto
@needs_mosquitto
async def test_a_broker_of_another_authority_is_not_believed(tmp_path: Path) -> None:
    fleet, other = make_fleet(tmp_path / "fleet"), make_fleet(tmp_path / "other")
    async with running(other):
        impostor = replace(own_settings(fleet, "operator"), port=other.record.port)
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(certificate_of, impostor)
        assert await asyncio.to_thread(certificate_of, own_settings(other, "operator"))


async def until_lost(connection: Connection) -> None:
    """Wait until the broker has disconnected a client."""
    while connection.is_connected:
        await connection.publish(topics.telemetry("camera"), b"x", qos=0)
