"""Files with secrets: passwords and private keys."""

import os
from pathlib import Path


def write_secret(path: Path, text: str | bytes) -> None:
    """Write a file that only this user can read, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    # Made anew, so that nobody who has opened an earlier file reads along.
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        # Still there if it could not be written: nothing of the secret stays behind.
        temporary.unlink(missing_ok=True)
