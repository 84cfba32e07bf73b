"""The bound of requests."""

from services.executor.source.request_limit import request_limit_bytes


def test_a_request_may_have_a_part_of_the_free_memory_and_a_mebibyte_at_least() -> None:
    assert request_limit_bytes(10**18) < 2**40
    assert request_limit_bytes(5_000_000) <= 5_000_000
    assert request_limit_bytes(1) == 2**20
