"""Reading of files that a user names, which may be endless, such as /dev/zero."""

import errno
from pathlib import Path
from typing import Final

_PART_BYTES: Final = 2**20


def read_at_most(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file, a pipe or a device.

    Raises:
        OSError: it cannot be read, or has more than `max_bytes`.
    """
    data = bytearray()
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            data += part
            if len(data) > max_bytes:
                size = f"{path.stat().st_size}" if path.is_file() else f"more than {max_bytes}"
                raise OSError(errno.EFBIG, f"it has {size} bytes, and at most {max_bytes} are read", str(path))
    return bytes(data)
