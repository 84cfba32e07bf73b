"""`segue up` as a user runs it on a fleet of his own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import services.cli.data as demo_data

DATA = Path(demo_data.__file__).parent
FLEET = f"""
[model]
file = "{DATA}/squeezenet1.1.onnx"
preprocessing = {{ channel_order = "BGR", mean = [104.0, 117.0, 123.0] }}
calibration_images = "photographs"

[stream]
source = "camera"
images = ["{DATA}/photos/*.jpg"]

[policy]
raw_input_stays_on_source = true
codec = "uint8+zstd"

[devices.camera]
slowdown = 60.0

[devices.server]

[[links]]
between = ["camera", "server"]
bandwidth_mbps = 40.0
"""


def up(folder: Path) -> tuple[dict[str, object], str]:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli.main", "up", str(folder / "fleet.toml"), "--requests", "6", "--json"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.timeout(400)
def test_a_policy_that_names_an_encoding_is_calibrated_once_and_kept(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "photographs").mkdir()
    for name in ("crab.jpg", "cup.jpg"):
        (tmp_path / "photographs" / name).symlink_to(DATA / "calibration" / name)
    first, told = up(tmp_path)
    assert "measuring encodings of feature maps: 50 %" in told
    assert (first["results"], first["encoded"], first["lost"]) == (6, 6, 0)
    assert first["phases"][0]["route"].startswith("camera[0,")  # type: ignore[index]
    assert "uint8+zstd > server" in first["phases"][0]["route"]  # type: ignore[index]
    assert first["phases"][0]["best_single_device"]["route"] == "camera[0,24)"  # type: ignore[index]
    again, told = up(tmp_path)
    assert "measuring encodings" not in told
    assert again["encoded"] == 6
