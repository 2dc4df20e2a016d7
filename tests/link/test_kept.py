"""Labs whose links have all there is: twice the same, forked, written to a file; and the page about them."""

import contextlib
import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest

import aero_lab as al
from aero_lab.keeping.generators import CannotCopy
from aero_lab.link.knobs import KNOBS

PAGE = (Path(__file__).parents[2] / "docs" / "link.md").read_text()
LINES = (
    "rtt=20ms, rate=2Mbit/s, aqm=codel, loss=1%, loss_burst=3, jitter=1ms, jitter_model=normal",
    "rtt=10ms, rate=1Mbit/s:3Mbit/s, aqm=none:fq_codel, ecn=no:yes, gilbert=1%/40%/50%/0.1%",
    "rtt=6ms, rate_trace=3/3/9/20:1/2, queue=60KiB, aqm=pie:none, loss_trace=0000000001, outage=100ms/20ms/300ms",
    "rtt=6ms, outage=random/200ms/10ms, outage_mode=hold, jitter=1ms, jitter_model=pareto, rate=4Mbit/s, aqm=pie",
)


@pytest.mark.parametrize("option", ["C", "A"])
@pytest.mark.parametrize("link", LINES)
def test_it_goes_on_the_same_in_a_fork_and_from_a_file(link, option, tmp_path):
    def rest(lab):
        lab.advance(1.5 - lab.now / 1e9)
        return lab.capture.save(tmp_path / "x.pcapng").read_bytes()

    with al.Lab(virtual=True, option=option, link=link, seed=4) as lab:
        guest = lab.guest(profile="linux")
        guest.start("source", size=200_000)
        guest.start("udp-echo", count=20)
        lab.advance(0.2)
        for _ in range(10):  # not while a lost lookup is asked again: nobody can copy that
            with contextlib.suppress(CannotCopy):
                lab.save(tmp_path / "x.bench")
                break
            lab.advance(0.05)
        loaded = al.Lab.load(tmp_path / "x.bench")
        fork, changed = lab.fork(), lab.fork(link=LINES[0])
        assert rest(lab) == rest(fork) == rest(loaded)
        assert len(lab.capture) > 100 and lab.capture.meta["link"] == al.Link.parse(link).to_dict()
        rest(changed)
        for side in ("up", "down"):
            one, other = (each.guests[0].link[side] for each in (lab, loaded))
            assert one == other
        for each in (fork, changed, loaded):
            each.close()


def test_the_page_names_all_there_is():
    table = " ".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", table)) == set(KNOBS)


def test_the_picture_is_there():
    (name,) = re.findall(r"!\[[^\]]+\]\(images/([\w-]+)\.png\)", PAGE)
    path = Path(__file__).parents[2] / "docs" / "images" / f"{name}.png"
    assert 5_000 < path.stat().st_size < 120_000 and plt.imread(path).shape[1] >= 700
