"""Cache of the payloads of pending requests."""

from dataclasses import dataclass, field

# The journal has every payload. The cache saves reading it back for the usual sizes of photographs.
_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class PayloadCache:
    """Payloads of pending requests in memory, up to a total size; the journal has all of them.

    Attributes:
        limit_bytes: largest total size; a payload beyond it is not cached.
    """

    limit_bytes: int = _LIMIT_BYTES
    _payloads: dict[str, bytes] = field(default_factory=dict, init=False)
    _size_bytes: int = field(default=0, init=False)

    def put(self, request_id: str, payload: bytes) -> None:
        """Cache a payload if it fits."""
        if self._size_bytes + len(payload) <= self.limit_bytes:
            self.drop(request_id)
            self._payloads[request_id] = payload
            self._size_bytes += len(payload)

    def get(self, request_id: str) -> bytes | None:
        """Return a cached payload."""
        return self._payloads.get(request_id)

    def drop(self, request_id: str) -> None:
        """Remove a payload, if it is cached."""
        self._size_bytes -= len(self._payloads.pop(request_id, b""))
