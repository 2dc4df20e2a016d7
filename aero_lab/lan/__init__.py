"""The synthetic LAN behind a tunnel: the link layer's services and the NAT between guest and egress."""

from .config import LanConfig
from .flows import FlowRecord, FlowTable
from .lan import Lan
from .policy import Policy, special_use

__all__ = ["FlowRecord", "FlowTable", "Lan", "LanConfig", "Policy", "special_use"]
