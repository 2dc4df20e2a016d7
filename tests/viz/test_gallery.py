"""The pictures in docs/: each is there, small, on the page, and can be made again."""

import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest

from aero_lab import viz

from .gallery import IMAGES, MOST_BYTES, RECIPES, figures
from .looking import has_units, looked_at

PAGE = (Path(__file__).parents[2] / "docs" / "figures.md").read_text()


def test_the_page_shows_each_picture_and_names_each_function():
    shown = re.findall(r"!\[[^\]]+\]\(images/([\w-]+)\.png\)", PAGE)
    assert sorted(shown) == sorted(RECIPES)
    functions = [name for name in viz.__all__ if name.islower()]
    assert [name for name in functions if f"`{name}(" not in PAGE] == []


@pytest.mark.parametrize("name", RECIPES)
def test_the_picture_is_there_and_small(name):
    path = IMAGES / f"{name}.png"
    assert 5_000 < path.stat().st_size < MOST_BYTES
    assert plt.imread(path).shape[1] >= 700


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "comparison"])
def test_the_picture_can_be_made_again(name, tmp_path):
    ((_, figure),) = figures([name])
    looked_at(figure, tmp_path / "figure.png", dpi=80)
    for ax in figure.axes:
        if name != "waterfall" or ax.get_xlabel():
            has_units(ax)
    plt.close("all")
