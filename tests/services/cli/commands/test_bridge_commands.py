"""`segue fleet bridge`: a site's folder, written and written again."""

from pathlib import Path

from tests.services.cli.commands.test_closed_fleet_commands import fleet, refusal
from tests.support.segue_command import invoke_command


def bridge(*arguments: str) -> str:
    done = invoke_command("bridge_commands:bridge_command", *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_site_is_written_again_after_its_members_have_changed(tmp_path: Path) -> None:
    folder, out = tmp_path / "fleet", tmp_path / "site"
    at = ("--fleet", str(folder))
    assert fleet("init", str(folder), "--host", "127.0.0.1").exit_code == 0
    refused = invoke_command("bridge_commands:bridge_command", "barn", "--out", str(out), *at)
    assert "site barn is new" in refusal(refused)
    assert "0 topics cross" in bridge("barn", "--host", "192.0.2.20", "--out", str(out), *at)
    added = fleet("add_device", "camera", "--site", "barn", *at)
    assert "segue fleet bridge NAME --out DIR, for barn" in added.stderr
    assert "there is no site attic" in refusal(fleet("add_device", "helper", "--site", "attic", *at))
    printed = bridge("barn", "--out", str(out), *at)
    assert f"segue fleet install --site {out}" in printed
    assert "0 topics cross" not in printed
    assert "topic segue/v1/devices/camera/commands in 1\n" in (out / "mosquitto.conf").read_text()
    planned = invoke_command("install_commands:install_server_command", "--site", str(out), "--dry-run")
    assert f"ReadWritePaths={out}\n" in planned.stdout
