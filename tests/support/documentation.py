"""Examples of the documentation."""

import re
from pathlib import Path


def python_blocks(page: Path) -> list[str]:
    """Return the Python code blocks of a Markdown page, in order."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.M | re.S)
