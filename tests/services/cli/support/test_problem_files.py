"""Reading and solving of problem files, with notes and faults on standard error."""

import ctypes
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from planning.strategies.spatial.distredge import Distredge
from planning.strategies.spatial.offload import OFFLOAD
from services.cli.support import problem_files
from services.cli.support.problem_files import shown_progress, solver_output_on_stderr
from tests.support.offline_commands import run_offline
from tests.support.shared_paths import INSTANCES


def test_faults_are_one_line_each_with_path_and_status_2() -> None:
    values = json.loads((INSTANCES / "alexnet_pi_cloud_wifi.json").read_text())
    values["devices"]["pi"]["block_ms"]["alexnet"] = [1.0, 2.0, 3.0]
    values["links"][0]["to"] = "moon"
    values["policy"]["strategy"] = "magic"
    result = run_offline("plan", "-", text=json.dumps(values))
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "$.devices.pi.block_ms.alexnet: 3 values, but model alexnet has 11 blocks"
    assert lines[1] == "$.links[0].to: there is no device moon"
    assert lines[2].startswith("$.policy.strategy: there is no strategy magic")
    assert len(lines) == 3


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", '{"version": 1}', "[" * 100_000])
def test_what_is_no_problem_is_status_2(text: str) -> None:
    result = run_offline("plan", "-", "--json", text=text)
    assert result.exit_code == 2
    assert result.stderr.startswith("$")
    assert result.stdout == ""


def test_missing_file_and_unknown_strategy_are_status_2(tmp_path: Path) -> None:
    assert run_offline("plan", str(tmp_path / "none.json")).exit_code == 2
    assert run_offline("plan", str(tmp_path)).exit_code == 2
    assert run_offline("plan").exit_code == 2
    assert run_offline("plan", str(INSTANCES / "vgg16_too_late.json"), "--strategy", "magic").exit_code == 2


def test_what_a_library_prints_past_python_stays_off_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    library = ctypes.CDLL(None)
    with solver_output_on_stderr():
        library.puts(b"chatter")
    library.fflush(None)
    captured = capfd.readouterr()
    assert "chatter" not in captured.out
    assert "chatter" in captured.err


@pytest.mark.parametrize("command", ["plan", "explain", "simulate"])
def test_who_saves_energy_without_power_figures_is_told(command: str) -> None:
    values = json.loads((INSTANCES / "alexnet_pi_cloud_wifi.json").read_text())
    given = run_offline(command, "-", "--objective", "energy", text=json.dumps(values))
    for device in values["devices"].values():
        for key in [key for key in device if key.startswith("power_")]:
            del device[key]
    missing = run_offline(command, "-", "--objective", "energy", "--json", text=json.dumps(values))
    assert given.exit_code == missing.exit_code == 0
    assert "power" not in given.stderr
    assert "no device has power figures" in missing.stderr
    assert json.loads(missing.stdout)


@pytest.mark.parametrize("command", ["plan", "explain"])
def test_a_rate_that_the_plan_does_not_keep_up_with_is_noted(command: str) -> None:
    values = json.loads((INSTANCES / "alexnet_pi_cloud_wifi.json").read_text())
    calm = run_offline(command, "-", "--json", text=json.dumps(values))
    values["streams"][0]["rate_hz"] = 1000.0
    crowded = run_offline(command, "-", "--json", text=json.dumps(values))
    assert calm.exit_code == crowded.exit_code == 0
    assert "queue" not in calm.stderr
    assert "would be busy" in crowded.stderr
    assert json.loads(crowded.stdout)


def test_a_long_search_shows_its_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, shown = Distredge(), io.StringIO()
    with shown_progress(strategy) as silent:
        assert silent is strategy
    monkeypatch.setattr(problem_files, "notes_console", lambda: Console(file=shown, force_terminal=True, width=80))
    with shown_progress(strategy) as reporting:
        assert isinstance(reporting, Distredge)
        assert reporting.progress is not None
        reporting.progress(3, 4, 12.5)
    assert "best so far 12.5 ms" in shown.getvalue()
    assert "3/4" in shown.getvalue()
    with shown_progress(OFFLOAD) as short:
        assert short is OFFLOAD
