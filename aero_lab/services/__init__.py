"""The hermetic services of a lab: what a guest can talk to without the internet.

Each is written once, without I/O (:mod:`.base` says how), and hosted twice: on real loopback ports by
:mod:`aero_lab.egress.services_host`, and in virtual time by :mod:`.far_end`.
"""

from .catalogue import CATALOGUE, RECORDS, Offer, Services, endpoints, identity_forwards, make_services, names

__all__ = ["CATALOGUE", "RECORDS", "Offer", "Services", "endpoints", "identity_forwards", "make_services", "names"]
