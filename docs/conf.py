"""How Sphinx builds the documentation: `sphinx-build -W --keep-going docs site`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from jupyter_otel_telemetry import __version__

project = "jupyter-otel-telemetry"
author = copyright = "jupyter-otel-telemetry contributors"  # noqa: A001 - the name that Sphinx reads
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "traits_directive"]
exclude_patterns = ["_ext"]
default_role = "literal"  # docstrings write code in single backticks
smartquotes = False  # `--json` keeps its two hyphens
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

html_theme = "pydata_sphinx_theme"
html_title = "jupyter-otel-telemetry"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
