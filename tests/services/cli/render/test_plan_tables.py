"""Tables of plans and strategies."""

import pytest

from tests.support.offline_commands import run_offline
from tests.support.shared_paths import INSTANCES


@pytest.mark.parametrize("columns", ["80", "50"])
def test_no_name_is_cut_off_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    path = str(INSTANCES / "two_cameras_one_server.json")
    for arguments in (["plan", "--list-strategies"], ["explain", path, "--variants"], ["plan", path]):
        assert "…" not in run_offline(*arguments).stdout


@pytest.mark.parametrize("command", ["plan", "explain", "simulate"])
def test_names_with_brackets_are_printed_as_they_are(command: str) -> None:
    text = (INSTANCES / "alexnet_pi_cloud_wifi.json").read_text().replace('"pi"', '"[/pi]"')
    result = run_offline(command, "-", text=text)
    assert result.exit_code == 0
    assert "[/pi]" in result.stdout
