"""How Sphinx builds these pages: `nox -s docs`. What is declared in the code is written by `_ext/declared.py`."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "QRMI for HPC"
author = "the QRMI for HPC authors"
copyright = author
version = release = version_of("qrmi-core")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "declared"]
exclude_patterns = ["_build", "changelog.d"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

smartquotes = False  # --config is not an en dash and config
default_role = "py:obj"  # single backquotes in docstrings
python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_rtype = False

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["wrap.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
