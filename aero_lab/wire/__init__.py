"""Wire formats: one file per protocol, named as its RFC names it. Nothing here keeps state or knows the time.

Each protocol file holds the same three things, top down:

1. *fields* for kernels: ``get_ttl(buffer, offset)`` and ``put_ttl(buffer, offset, value)``, unguarded and inlined
   (see :mod:`aero_lab.compiled.memory`);
2. a checked *view*, ``Ipv4View(buffer)``: reads fields in place, after its constructor has made sure that they are
   there. It raises :class:`aero_lab.errors.Malformed` with a short stable reason, and nothing else, whatever the bytes;
3. a *value*, ``Ipv4(src=..., dst=..., ...)``: a frozen dataclass that only holds what can be sent, with
   ``parse(data)``, ``buffer_len()`` and ``emit()``; ``parse(emit(x)) == x``. Lengths, checksums and padding are
   filled in by ``emit`` and checked by ``parse``. A wrong argument raises :class:`aero_lab.errors.UsageError`.

The map, in the order of a frame:

===============  =====================================================================================================
``base``         what views and values are made of
``address``      packed addresses and their text; prefixes; multicast and link-local arithmetic
``checksum``     the Internet checksum for Python and for kernels, pseudo headers
``ethernet``     Ethernet II with 802.1Q tags
``arp``          ARP requests, replies, probes and announcements
``ipv4``         header, options, fragments
``ipv6``         header, extension headers, fragments
``icmp``         ICMP; echo and errors with their quoted packet
``icmpv6``       ICMPv6, the fixed part
``ndp``          neighbour and router discovery with their options (inside ICMPv6)
``multicast``    IGMPv3 and MLDv2 membership reports
``udp``, ``tcp``  the transports; TCP options keep their order, because fingerprints are made of it
``dhcp``         DHCP for IPv4
``dns``          messages, names and their compression; ``rdata`` what records hold; EDNS
``frame``        whole frames: ``dissect(frame)`` to values, ``summary(frame)`` to a line, builders for tests and guests
===============  =====================================================================================================

This package imports nothing by itself, so that an edit to ``dns`` does not make the compiled TCP stale.
"""
