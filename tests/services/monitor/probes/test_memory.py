"""Memory of this machine."""

from pathlib import Path

import pytest

from services.monitor.probes.memory import MemoryProbe, stalled_percent


def test_used_memory_is_a_part_of_all() -> None:
    readings = MemoryProbe().sample(0.0)
    used_bytes, total_bytes = readings["memory_used_bytes"], readings["memory_total_bytes"]
    assert used_bytes is not None
    assert total_bytes is not None
    assert 0 < used_bytes < total_bytes


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("some avg10=12.50 avg60=3.00 avg300=1.00 total=5\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1\n", 12.5),
        ("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", 0.0),
        ("", None),
        ("some avg10=x\n", None),
        ("full avg10=1.00\n", None),
        ("some\n", None),
    ],
)
def test_the_kernels_pressure(tmp_path: Path, text: str, percent: float | None) -> None:
    (tmp_path / "memory").write_text(text)
    assert stalled_percent(tmp_path / "memory") == percent
    assert stalled_percent(tmp_path / "nowhere") is None
