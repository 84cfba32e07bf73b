"""Configuration of the documentation site (Sphinx, MyST Markdown)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

project = "Segue"
copyright = "2026, the Segue authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "Segue"
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
autodoc_typehints = "description"
# Types of internal modules appear in signatures and have no page of their own.
nitpick_ignore_regex = [("py:.*", ".*")]
# Blocks without a language are diagrams, tables and shell lines.
highlight_language = "none"
