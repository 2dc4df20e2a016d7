"""A small download as both points see it, written down by hand: ARP, DNS, handshake, loss, keepalive, FIN."""

from functools import cache

from aero_lab.capture import Recorder

from .packets import GATEWAY, GUEST, HERE, THERE, every_kind

MS = 1_000_000
DELAY = 20 * MS
HEADER = b"\xa2\x03\0\0"


def segment(guest, seq, ack, flags="A", data=b"", window=64240, port=49200, options=()):
    """A TCP segment of the guest's (or the server's) as a frame."""
    from scapy.all import IP, TCP, Ether, Raw

    ends = (Ether(src=GUEST, dst=GATEWAY), IP(src=HERE, dst=THERE)) if guest else (
        Ether(src=GATEWAY, dst=GUEST), IP(src=THERE, dst=HERE))  # fmt: skip
    ports = (port, 80) if guest else (80, port)
    frame = ends[0] / ends[1] / TCP(sport=ports[0], dport=ports[1], seq=seq & 0xFFFFFFFF, ack=ack & 0xFFFFFFFF,
                                    flags=flags, window=window, options=list(options))  # fmt: skip
    return bytes(frame / Raw(data) if data else frame)


@cache
def script():
    """``(time in ms, whether the guest sends, frame, lost on the way, expected cause)`` in order of sending."""
    kinds = every_kind()
    c, s, mss = 0xFFFFFF00, 5000, [("MSS", 1460)]
    get = b"GET /10MB HTTP/1.1\r\nHost: files.lab\r\n\r\n"
    n = len(get)
    a = c + 1 + n
    block = b"d" * 1460
    at = [s + 1 + 1460 * i for i in range(8)]
    return (
        (0, True, kinds[0], False, "arp"),
        (1, False, kinds[1], False, "arp"),
        (2, True, kinds[5], False, "dns"),
        (45, False, kinds[6], False, "dns"),
        (66, True, segment(True, c, 0, "S", options=mss), True, "handshake"),
        (1066, True, segment(True, c, 0, "S", options=mss), False, "retransmission"),
        (1087, False, segment(False, s, c + 1, "SA", options=mss), False, "handshake"),
        (1108, True, segment(True, c + 1, s + 1), False, "ack"),
        (1108.1, True, segment(True, c + 1, s + 1, "PA", get), False, "payload"),
        (1129, False, segment(False, s + 1, a), False, "ack"),
        (1130, False, segment(False, at[0], a, data=block), False, "payload"),
        (1130.1, False, segment(False, at[1], a, data=block), False, "payload"),
        (1130.2, False, segment(False, at[2], a, data=block), True, "payload"),
        (1130.3, False, segment(False, at[3], a, data=block), False, "payload"),
        (1130.4, False, segment(False, at[4], a, data=block), False, "payload"),
        (1151, True, segment(True, a, at[2]), False, "ack"),
        (1151.3, True, segment(True, a, at[2], options=[("SAck", (at[3], at[4]))]), False, "ack"),
        (1151.4, True, segment(True, a, at[2], options=[("SAck", (at[3], at[5]))]), False, "ack"),
        (1172, False, segment(False, at[2], a, data=block), False, "retransmission"),
        (1193, True, segment(True, a, at[5]), False, "ack"),
        (1195, False, segment(False, at[2], a, data=block), False, "retransmission"),
        (1216, True, segment(True, a, at[5]), False, "ack"),
        (1240, False, segment(False, at[1], a, data=block), False, "duplicate"),
        (1262, True, segment(True, a, at[5]), False, "ack"),
        (6300, False, segment(False, at[5] - 1, a), False, "keepalive"),
        (6321, True, segment(True, a, at[5]), False, "keepalive"),
        (6400, False, segment(False, at[5], a, "PA", b"end\r\n"), False, "payload"),
        (6421, True, segment(True, a, at[5] + 5), False, "ack"),
        (6430, False, segment(False, at[5] + 5, a, "FA"), False, "handshake"),
        (6451, True, segment(True, a, at[5] + 6, "FA"), False, "handshake"),
        (6472, False, segment(False, at[5] + 6, a + 1), False, "ack"),
    )


def record(points=("nic", "tunnel"), delay=DELAY, **options) -> Recorder:
    """The script as a recorder sees it: each frame at its sender's point, and ``delay`` later at the other."""
    seen = []
    for number, (ms, up, frame, lost, _) in enumerate(script(), 1):
        sent = round(ms * MS)
        first, second = ("nic", "tunnel") if up else ("tunnel", "nic")
        seen.append((sent, number, first, up, frame))
        if not lost:
            seen.append((sent + delay, number, second, up, frame))
    recorder = Recorder(points=points, **options)
    for when, number, point, up, frame in sorted(seen, key=lambda row: row[0]):
        if point == "tunnel":
            recorder.add_message(HEADER + frame, "tx" if up else "rx", when, number)
        else:
            recorder.add(frame, point, "tx" if up else "rx", when, number)
    return recorder
