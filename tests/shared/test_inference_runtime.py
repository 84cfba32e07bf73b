import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.inference_runtime import new_session_options, onnxruntime
from tests.support.onnx_texts import onnx_bytes

ROOT = Path(__file__).parents[2]
PACKAGES = ("planning", "services", "shared", "segue", "broker", "benchmarks")

# Makes a session, and prints the setting.
SESSION = """
import os
from shared.inference_runtime import new_session_options, onnxruntime
from shared.model.architectures import build
from shared.model.onnx_file import to_bytes
session = onnxruntime.InferenceSession(to_bytes(build("tiny")), new_session_options())
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def imports(path: Path) -> set[str]:
    """Return the first names of the modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_one_module_imports_the_runtime() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert [path.name for path in files if "onnxruntime" in imports(path)] == ["inference_runtime.py"]


def test_telemetry_is_off_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    made = subprocess.run([sys.executable, "-c", SESSION], capture_output=True, text=True, cwd=ROOT, check=True)
    assert made.stdout.split() == ["1"]


def test_subnormal_numbers_are_kept_on_every_thread() -> None:
    options = new_session_options()
    options.intra_op_num_threads = 2
    data = onnx_bytes("g (float[64,4096] x) => (float[64,4096] y) {y = Mul(x, one)}", one=np.ones(1, np.float32))
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    tiny = np.full((64, 4096), 1e-39, np.float32)
    assert np.array_equal(session.run(None, {"x": tiny})[0], tiny)
