"""Names under ``.lab`` are the lab's alone: those it does not have are nowhere, and nobody outside hears of them."""

from __future__ import annotations

from aero_lab.lan import LanConfig
from aero_lab.lan.dns_cache import DnsCache
from aero_lab.lan.dns_judge import judge
from aero_lab.services.zone import Zone
from aero_lab.wire import dns
from aero_lab.wire.address import ip


def ask(config: LanConfig, name: str):
    zone = Zone(config.static_names, config.records, 60)
    return judge(config, zone, DnsCache(0, 0), True, name, dns.A, 0)


def test_a_name_that_the_lab_does_not_have_is_nowhere():
    config = LanConfig(names={"files.lab": ip("203.0.113.10")})
    assert (ask(config, "nowhere.lab").step, ask(config, "nowhere.lab").outcome) == ("static", "nxdomain")
    assert ask(config, "files.lab").outcome == "answer"
    assert ask(config, "nowhere.example").outcome == "lookup"


def test_a_network_without_names_of_its_own_asks():
    assert ask(LanConfig(), "nowhere.lab").outcome == "lookup"
