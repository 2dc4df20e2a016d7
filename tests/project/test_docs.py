"""The pages of docs/ build, with every warning an error, and every page can be found from the first."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_docs_build_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="sphinx is not installed: pip install 'aero-lab[docs]'")
    pytest.importorskip("furo", reason="furo is not installed: pip install 'aero-lab[docs]'")
    run = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    built = {page.stem for page in tmp_path.glob("*.html")}
    assert {page.stem for page in DOCS.glob("*.md")} <= built


def test_every_page_stands_in_the_index_and_every_link_leads_somewhere():
    index = (DOCS / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, f"{page.name} is not in docs/README.md"
    for page in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
