"""Which network cards there are, by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import UsageError
from .base import Nic

MODELS: dict[str, str] = {
    "e1000": "aero_lab.nic.e1000:E1000",
    "virtio-net": "aero_lab.nic.virtio_net:VirtioNet",
}
"""Module and class of each model."""


def check_model(model: str) -> None:
    """:class:`UsageError` unless there is such a card."""
    if model not in MODELS:
        raise UsageError(f"network card {model!r} does not exist; there is {', '.join(map(repr, MODELS))}")


def make_nic(model: str, mac: str | bytes = "52:54:00:12:34:56", **options: Any) -> Nic:
    """A card of a model by name."""
    check_model(model)
    module, _, name = MODELS[model].partition(":")
    return getattr(import_module(module), name)(mac, **options)
