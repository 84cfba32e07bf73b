"""Changes of the command line and of scenario files become the same values."""

from pathlib import Path

import pytest

from planning.files.problem_file import read_problem
from planning.files.scenario_file import read_scenario
from planning.simulation.scenario import BandwidthChange, LoadChange
from services.cli.support.scenario_options import load_scenario, parse_change
from tests.support.offline_commands import run_offline
from tests.support.shared_paths import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "tiles"
TILES = (str(EXAMPLE / "problem.json"), "--plan", str(EXAMPLE / "plan.json"))
PROBLEM = read_problem((EXAMPLE / "problem.json").read_bytes())


def test_both_forms_make_the_same_changes() -> None:
    file = EXAMPLE / "scenario.json"
    of_file = read_scenario(file.read_bytes(), PROBLEM).changes
    entries = [
        f"{change.at_ms}:{change.device}={change.load_factor}"
        if isinstance(change, LoadChange)
        else f"{change.at_ms}:{change.source},{change.target}={change.bandwidth_mbps}"
        for change in of_file
    ]
    assert tuple(parse_change(PROBLEM, entry) for entry in entries) == of_file
    both = load_scenario(PROBLEM, file, entries)
    assert both.changes == of_file * 2
    assert both.arrivals == read_scenario(file.read_bytes(), PROBLEM).arrivals


def test_gone_is_a_change_without_a_number() -> None:
    assert parse_change(PROBLEM, "250:pi2=gone") == LoadChange(250.0, "pi2", None)
    assert parse_change(PROBLEM, "9:pi1,nano=gone") == BandwidthChange(9.0, "pi1", "nano", None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("soon:pi2=3", "expected MS:DEVICE=LOAD_FACTOR"),
        ("100:pi2", "expected MS:DEVICE=LOAD_FACTOR"),
        ("100:pi2=busy", "expected MS:DEVICE=LOAD_FACTOR"),
        ("100:moon=3", "'moon' is no device and no link"),
        ("100:pi1,moon=3", "'pi1,moon' is no device and no link"),
        ("100:pi2=0", "input should be greater than or equal to"),
        ("nan:pi2=2", "input should be a finite number"),
        ("-5:pi1,nano=2", "input should be greater than or equal to 0"),
    ],
)
def test_a_change_that_cannot_be(change: str, said: str) -> None:
    result = run_offline("simulate", *TILES, f"--change={change}")
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2
    assert line.startswith(f"--change {change}: ")
    assert said in line


def test_faults_of_a_scenario_are_one_line_each(tmp_path: Path) -> None:
    file = tmp_path / "story.json"
    file.write_text('{"changes": [{"at_ms": 5, "device": "moon", "gone": true}, {"at_ms": 5}]}')
    result = run_offline("simulate", *TILES, "--scenario", str(file))
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"{file}: $.changes[0].device: there is no device moon",
        f"{file}: $.changes[1]: give either device with load_factor, or from and to with bandwidth_mbps",
    ]
    result = run_offline("simulate", *TILES, "--scenario", str(tmp_path / "none.json"))
    assert result.exit_code == 2
    assert "No such file" in result.stderr
