"""Files with the pictures of a decision."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
