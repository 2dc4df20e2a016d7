"""Sphinx: ``sphinx-build -W -b html docs OUT`` makes the pages and stops at any warning."""

import re

from pygments.lexers.special import TextLexer

import aero_lab

project = "aero_lab"
author = "the aero_lab authors"
copyright = "the aero_lab authors"
version = release = aero_lab.__version__

root_doc = "README"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["fieldlist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "aero_lab"
html_static_path = ["static"]
html_css_files = ["pages.css"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"


def fields(app, what, name, obj, options, lines):
    """Turn a docstring's section of parameters, one ``name: text`` each, into fields."""
    out, inside = [], False
    for line, below in zip(lines, [*lines[1:], ""]):
        if below and set(below) == {"-"} and line.strip():
            inside = line.strip() == "Parameters"
            continue
        if line and set(line) == {"-"}:
            continue
        found = re.match(r"(\*{0,2}\w+(?:, \w+)*): (.*)", line)
        if inside and found:
            names = found[1].split(", ")
            out.extend(f":param {each}: {found[2] if each == names[-1] else 'see ' + names[-1]}" for each in names)
        elif inside and line.strip():
            out.append("    " + line.strip())
        else:
            inside = inside and not line.strip() and bool(re.match(r"\w+: ", below))
            out.append(line)
    lines[:] = [*out, ""]


def setup(app):
    app.connect("autodoc-process-docstring", fields)
    # Diagrams are drawn where Markdown is shown with mermaid; drawing them here would need a script from elsewhere.
    app.add_lexer("mermaid", TextLexer)
