"""Sphinx: the Markdown pages of this folder and a reference made from docstrings. `bash docs/build.sh` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "temport"
author = "the authors of temport"
extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings", "links", "onnx_op", "pass_table"]
html_theme = "furo"
html_title = "temport"
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["wide.css"]
exclude_patterns = ["extensions", "pictures", "static"]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False
