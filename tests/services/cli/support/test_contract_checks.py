"""The list of what Segue needs of a broker, and its copy for people."""

import re
from pathlib import Path

from services.cli.support.contract_checks import CHECKS

ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)


def test_the_table_in_the_documentation_has_every_need_with_its_reason() -> None:
    text = Path("docs/brokers.md").read_text(encoding="utf-8").partition("## What Segue needs")[2].partition("\n## ")[0]
    rows = [tuple(map(str.strip, row)) for row in ROW.findall(text)]
    assert rows[1:] == [(check.need, check.reason, "yes" if check.is_required else "no") for check in CHECKS]


def test_needs_have_names_of_their_own() -> None:
    assert len({check.need for check in CHECKS}) == len(CHECKS)
