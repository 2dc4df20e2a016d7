"""Sphinx: ``sphinx-build -W -b html docs OUT`` makes the pages and stops at any warning."""

from pygments.lexers.special import TextLexer

import aero_lab

project = "aero_lab"
author = "the aero_lab authors"
copyright = "the aero_lab authors"  # noqa: A001 (Sphinx's own name)
version = release = aero_lab.__version__

root_doc = "README"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["fieldlist"]
myst_heading_anchors = 3
napoleon_google_docstring = False

html_theme = "furo"
html_title = "aero_lab"
autodoc_typehints = "description"
autodoc_member_order = "bysource"


def setup(app):
    # Diagrams are drawn where Markdown is shown with mermaid; drawing them here would need a script from elsewhere.
    app.add_lexer("mermaid", TextLexer)
