"""Memory of this machine."""

from services.monitor.probes.memory import MemoryProbe


def test_used_memory_is_a_part_of_all() -> None:
    readings = MemoryProbe().sample(0.0)
    used_bytes, total_bytes = readings["memory_used_bytes"], readings["memory_total_bytes"]
    assert used_bytes is not None
    assert total_bytes is not None
    assert 0 < used_bytes < total_bytes
