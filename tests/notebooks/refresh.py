"""Run the notebooks and keep their outputs, without traces of the machine: ``python -m tests.notebooks.refresh``.

To be run when figures change for a good reason; the diff then shows which.
"""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]


def refresh(path: Path) -> None:
    """Execute one notebook in place."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _passing(output)]
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)


def _passing(output: dict) -> bool:
    """Progress bars and warnings."""
    data = output.get("data", {})
    return output.get("name") == "stderr" or "application/vnd.jupyter.widget-view+json" in data


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    for found in sorted((ROOT / "notebooks").glob("*.ipynb")):
        refresh(found)
        print(found.name)
