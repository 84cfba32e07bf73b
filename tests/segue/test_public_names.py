"""Public names of the package, and the examples of its documentation."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import segue
from tests.support.documentation import python_blocks
from tests.support.shared_paths import DEMO_DATA, REPOSITORY


def test_every_public_name_is_defined_where_the_table_says() -> None:
    assert set(segue.__all__) == set(segue._MODULES)
    for name, module in segue._MODULES.items():
        assert getattr(segue, name) is getattr(importlib.import_module(module), name)
    assert dir(segue) == sorted(segue.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        _ = segue.Klient


def test_the_client_needs_neither_solvers_nor_onnx() -> None:
    script = (
        "import sys; from segue import Client; "
        "print([name for name in ('onnx', 'onnxruntime', 'scipy', 'highspy', 'networkx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"


def test_the_examples_of_the_documentation_run(tmp_path: Path) -> None:
    client, *offline = python_blocks(REPOSITORY / "docs" / "python.md")
    assert "Client.open" in client  # an end-to-end test runs it on a fleet
    (tmp_path / "model.onnx").symlink_to(DEMO_DATA / "squeezenet1.1.onnx")
    (tmp_path / "examples.py").write_text("\n".join(offline))
    done = subprocess.run(
        [sys.executable, "-W", "error", "examples.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "84.0 ms" in done.stdout
    assert "camera computes blocks 0 to 0" in done.stdout
    assert "3 segments, bit for bit equal: True" in done.stdout
