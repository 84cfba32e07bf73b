"""Memory of this machine."""

from services.monitor.probes.memory import sample_memory


def test_used_memory_is_a_part_of_all() -> None:
    sample = sample_memory()
    assert 0 < sample.used_bytes < sample.total_bytes
