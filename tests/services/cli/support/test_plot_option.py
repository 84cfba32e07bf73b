"""Checks of --plot before the search, and runs in which nothing is drawn."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shared_paths import INSTANCES


def explain(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    program = f"import sys\n{before}\nfrom services.cli.main import main\nmain(['explain', *sys.argv[1:]])\n"
    command = [sys.executable, "-c", program, *arguments, "--time-budget-s", "0.01"]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize(
    ("before", "file", "said"),
    [
        ("sys.modules['matplotlib'] = None", "a.png", "pip install 'segue[plot]'"),
        ("", "a.pdf", "has to end in .png, .svg or .html"),
        ("", "missing/a.png", "make it first"),
    ],
)
def test_faults_are_one_line(tmp_path: Path, before: str, file: str, said: str) -> None:
    done = explain(str(INSTANCES / "alexnet_burst_4g.json"), "--plot", str(tmp_path / file), before=before)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_nothing_is_drawn_without_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert explain(str(INSTANCES / "vgg16_too_late.json"), "--plot", str(path)).returncode == 3
    assert not path.exists()
