"""The host kernel's own network as the far side of a tunnel, in a namespace of its own.

In place of the gateway's stack stands the kernel: a TUN (option B) or a TAP (option C) into a network namespace that
routes and translates addresses. Off unless asked for; Linux, as root or with unprivileged user namespaces.

The map: ``rules`` is what the namespace is told, as text; ``router`` is the program that lives in it; ``namespace`` its
owner's side; ``connection`` a TCP connection of that kernel's, with the face of one of our stack's; ``stack`` puts them
together with that stack's face, so that the LAN behind it is the same as ever.
"""

from .namespace import Unavailable, refusal, why_not

__all__ = ["Unavailable", "refusal", "why_not"]
