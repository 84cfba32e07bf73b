from services.executor.source.payload_cache import PayloadCache


def test_the_payload_cache_is_bounded() -> None:
    cache = PayloadCache(limit_bytes=10)
    cache.put("a", b"123456")
    cache.put("b", b"123456")
    assert (cache.get("a"), cache.get("b")) == (b"123456", None)
    cache.drop("a")
    cache.drop("a")
    cache.put("b", b"123456")
    assert cache.get("b") == b"123456"
