import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from planning.files.problem_file import read_problem
from planning.strategies.registry import strategies
from services.cli.render.gantt_chart import MAX_BARS
from services.cli.render.plotting import decision_figure
from tests.support.shared_paths import INSTANCES


def explain(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    program = f"import sys\n{before}\nfrom services.cli.main import main\nmain(['explain', *sys.argv[1:]])\n"
    command = [sys.executable, "-c", program, *arguments, "--time-budget-s", "0.01"]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_png_is_a_picture_with_ink(tmp_path: Path) -> None:
    path = tmp_path / "decision.png"
    done = explain(str(INSTANCES / "alexnet_burst_4g.json"), "--plot", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert picture.format == "PNG"
    assert pixels.shape[1] > 1000
    assert 0.02 < (pixels < 200).mean() < 0.6


def test_page_has_routes_thresholds_and_the_table(tmp_path: Path) -> None:
    path = tmp_path / "decision.html"
    done = explain(str(INSTANCES / "alexnet_burst_4g.json"), "--plot", str(path), "--json")
    assert done.returncode == 0, done.stderr
    page = path.read_text()
    for text in ("pi → cloud", "[0,2) pi &gt; [2,11) cloud", "now 5.85", ">7.76<", ">148<", "local_only", "(Mbps"):
        assert text in page


@pytest.mark.parametrize("instance", ["two_cameras_one_server", "vgg16_three_devices_latency", "alexnet_encoded"])
def test_svg_is_well_formed(tmp_path: Path, instance: str) -> None:
    path = tmp_path / "decision.svg"
    assert explain(str(INSTANCES / f"{instance}.json"), "--plot", str(path)).returncode == 0
    assert ElementTree.parse(path).getroot().tag.endswith("svg")


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


def test_long_bursts_are_clipped() -> None:
    problem = read_problem((INSTANCES / "alexnet_burst_4g.json").read_bytes())
    problem = replace(problem, streams=(replace(problem.streams[0], jobs=MAX_BARS),))
    plan = strategies()["jps"].solve(problem, seed=0, time_budget_s=0.1)
    figure = decision_figure(problem, plan, {"auto": plan}, 0)
    assert f"the first {MAX_BARS} steps" in figure.axes[0].get_title(loc="left")
    assert len(figure.axes[0].patches) <= MAX_BARS
