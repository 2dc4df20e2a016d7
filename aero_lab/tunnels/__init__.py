"""How the two halves of a guest's pipeline come together: one room for each kind of transport. See :mod:`.base`."""

from .base import TRANSPORTS, Bench, Seeds, Tunnels, check_settings, find, seeded, transports, why_not

__all__ = ["TRANSPORTS", "Bench", "Seeds", "Tunnels", "check_settings", "find", "seeded", "transports", "why_not"]
