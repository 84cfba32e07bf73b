"""Arguments of `segue up`, and the folder of a run that does not begin. Whole runs are in tests/end_to_end."""

from pathlib import Path

import pytest

from services.cli.commands.fleet_commands import demo_command
from tests.support.segue_command import run_segue
from tests.support.shared_paths import DEMO_DATA, REPOSITORY

FLEET = REPOSITORY / "examples" / "fleet.toml"


def test_limits_that_do_not_fit_the_phases_are_refused(tmp_path: Path) -> None:
    with_phases = run_segue("up", str(FLEET), "--duration-s", "9")
    assert "has phases, which end by themselves; --phase-s shortens them" in with_phases.stderr
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(
        f'devices = {{ a = {{}} }}\n[model]\nfile = "{DEMO_DATA}/squeezenet1.1.onnx"\n'
        f'[stream]\nsource = "a"\nimages = ["{DEMO_DATA}/photos/*.jpg"]\n'
    )
    without = run_segue("up", str(fleet), "--phase-s", "9")
    assert "has no phases; --duration-s limits the run" in without.stderr
    assert with_phases.returncode == without.returncode == 2


def test_a_run_that_does_not_begin_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "none.onnx").write_bytes(b"no model")
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(
        'devices = { a = {} }\n[model]\nfile = "none.onnx"\n'
        f'[stream]\nsource = "a"\nimages = ["{DEMO_DATA}/photos/*.jpg"]\n'
    )
    done = run_segue("up", str(fleet))
    assert done.returncode == 2
    assert "not an ONNX file" in done.stderr
    assert list(tmp_path.glob("segue-*")) == []


def test_the_help_of_the_demo_names_its_disturbances() -> None:
    assert "SIGKILL" in (demo_command.__doc__ or "")
