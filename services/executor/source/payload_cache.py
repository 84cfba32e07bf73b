"""The bytes of requests under way, in memory as far as they fit."""

from dataclasses import dataclass, field

_PAYLOAD_CACHE_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class PayloadCache:
    """The bytes of requests under way, as far as they fit; the journal has them all."""

    limit_bytes: int = _PAYLOAD_CACHE_BYTES
    _payloads: dict[str, bytes] = field(default_factory=dict, init=False)
    _size_bytes: int = field(default=0, init=False)

    def put(self, request_id: str, payload: bytes) -> None:
        """Keep a payload if there is room."""
        if self._size_bytes + len(payload) <= self.limit_bytes:
            self.drop(request_id)
            self._payloads[request_id] = payload
            self._size_bytes += len(payload)

    def get(self, request_id: str) -> bytes | None:
        """Return a payload that was kept."""
        return self._payloads.get(request_id)

    def drop(self, request_id: str) -> None:
        """Forget a payload."""
        self._size_bytes -= len(self._payloads.pop(request_id, b""))
