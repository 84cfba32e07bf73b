"""Links, width and references of the Markdown pages."""

import ast
import re
import subprocess
import textwrap

import pytest

from tests.support.shared_paths import REPOSITORY

LISTED = subprocess.run(["git", "ls-files", "*.md"], capture_output=True, text=True, check=True, cwd=REPOSITORY)
PAGES = [page for page in LISTED.stdout.split() if (REPOSITORY / page).exists()]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
WIDTH = 100


def prose(text: str) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    broken = []
    for link in LINK.findall(prose(text)):
        target, _, anchor = link.partition("#")
        if target.startswith(("https:", "http:", "mailto:")):
            continue
        place = (REPOSITORY / page).parent / target if target else REPOSITORY / page
        if not place.exists() or (anchor and anchor not in anchors(place.read_text())):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_prose_is_wrapped(page: str) -> None:
    lines = prose((REPOSITORY / page).read_text()).splitlines()
    assert [line for line in lines if len(line) > WIDTH and not line.startswith(("|", "    "))] == []


@pytest.mark.parametrize(
    ("module", "heading", "end"),
    [
        ("services/planner/coordination/__init__.py", "event  ", "After each event"),
        ("services/planner/coordination/epochs.py", "phase  ", "Every other report"),
        ("services/executor/source/__init__.py", "RequestArrived: Accept", "What an event does"),
        ("services/executor/source/__init__.py", "Event  ", "Fail and StoreOutcome"),
    ],
)
def test_state_tables_are_those_of_the_modules(module: str, heading: str, end: str) -> None:
    docstring = ast.get_docstring(ast.parse((REPOSITORY / module).read_text())) or ""
    table = docstring[docstring.index(heading) : docstring.index(end)].rstrip()
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    assert textwrap.dedent("    " + table) in page


def test_files_named_by_the_architecture_exist() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:planning|segue|services|shared|broker|tests|docs|tools)/[\w./]+)`", page))
    missing = [name for name in named if not (REPOSITORY / name).exists() and "my_name" not in name]
    assert named
    assert missing == []


def test_nothing_refers_to_a_design_that_is_not_here() -> None:
    done = subprocess.run(
        [
            "git",
            "grep",
            "-nIiE",
            r"design,? section|the design (says|asks|leaves)",
            "--",
            "*.py",
            "*.md",
            "*.json",
            "*.toml",
        ],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert [line for line in done.stdout.splitlines() if not line.startswith("tests/test_documentation.py")] == []
