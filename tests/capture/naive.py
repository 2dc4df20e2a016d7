"""Slow, plain twins of the capture kernels: one frame at a time, dictionaries, no cleverness."""

import struct

from aero_lab.causes import Cause


def dissect(frame: bytes, size: int | None = None) -> dict:
    """Columns of one frame of which ``frame`` was captured and which was ``size`` bytes long."""
    size = len(frame) if size is None else size
    row: dict = {}
    if len(frame) < 14:
        return row
    row["eth_dst"], row["eth_src"] = (":".join(f"{b:02x}" for b in part) for part in (frame[:6], frame[6:12]))
    row["group"] = frame[0] & 1
    (kind,) = struct.unpack_from(">H", frame, 12)
    if kind < 1536:
        return row
    row["eth_type"] = kind
    at = 14
    for _ in range(2):
        if kind in (0x8100, 0x88A8) and len(frame) >= at + 4:
            tci, inner = struct.unpack_from(">HH", frame, at)
            if kind == 0x8100:
                row.setdefault("vlan_id", tci & 0xFFF)
            kind, at = inner, at + 4
    if kind == 0x0806:
        _arp(frame[at:], row)
    elif kind in (0x0800, 0x86DD) and len(frame) > at:
        if frame[at] >> 4 == 4:
            _ipv4(frame[at:], size - at, row)
        elif frame[at] >> 4 == 6:
            _ipv6(frame[at:], size - at, row)
    return row


def _arp(data: bytes, row: dict) -> None:
    if len(data) >= 8:
        (row["arp_opcode"],) = struct.unpack_from(">H", data, 6)
    if len(data) >= 28 and data[:6] == bytes.fromhex("000108000604"):
        row["arp_src"], row["arp_dst"] = (".".join(map(str, data[i : i + 4])) for i in (14, 24))


def _ipv4(data: bytes, size: int, row: dict) -> None:
    """``size`` is how long the rest of the frame was, captured or not."""
    if len(data) < 20:
        return
    header = (data[0] & 15) * 4
    total, ident, fragment = struct.unpack_from(">HHH", data, 2)
    if header < 20 or (0 < total < header):
        return
    end = min(size, total) if total else size
    row.update(
        ip_version=4, ip_len=total, ip_ttl=data[8], ip_dsfield=data[1], ip_id=ident, ip_proto=data[9],
        ip_frag=fragment & 0x1FFF, ip_flags_df=bool(fragment & 0x4000), ip_flags_mf=bool(fragment & 0x2000),
        ip_src=".".join(map(str, data[12:16])), ip_dst=".".join(map(str, data[16:20])),
    )  # fmt: skip
    if fragment & 0x1FFF == 0:
        _transport(data[9], data[header:end], end - header, row)


def _ipv6(data: bytes, size: int, row: dict) -> None:
    import ipaddress

    if len(data) < 40:
        return
    length, proto, hops = struct.unpack_from(">HBB", data, 4)
    end = min(size, 40 + length) if length else size
    row.update(
        ip_version=6, ip_len=length + 40, ip_ttl=hops, ip_dsfield=(struct.unpack(">H", data[:2])[0] >> 4) & 0xFF,
        ip_src=str(ipaddress.IPv6Address(data[8:24])), ip_dst=str(ipaddress.IPv6Address(data[24:40])),
    )  # fmt: skip
    at = 40
    later_fragment = False
    for _ in range(8):
        if proto not in (0, 43, 44, 60) or len(data[at : min(end, at + 8)]) < 8:
            break
        if proto == 44:
            (offset,) = struct.unpack_from(">H", data, at + 2)
            if "ip_frag" not in row:
                row["ip_frag"], row["ip_flags_mf"] = offset >> 3, bool(offset & 1)
            proto, at = data[at], at + 8
            later_fragment = offset >> 3 != 0
            if later_fragment:
                break
        else:
            proto, at = data[at], at + 8 * (1 + data[at + 1])
    row["ip_proto"] = proto
    if not later_fragment:
        _transport(proto, data[at:end], end - at, row)


def _transport(proto: int, data: bytes, size: int, row: dict) -> None:
    if proto in (6, 17) and len(data) >= 4:
        row["srcport"], row["dstport"] = struct.unpack_from(">HH", data)
    if proto == 6 and len(data) >= 20:
        seq, ack, bits, window = struct.unpack_from(">IIHH", data, 4)
        header = (bits >> 12) * 4
        if header < 20 or header > size:
            return
        row.update(
            tcp_seq=seq, tcp_ack=ack, tcp_flags=bits & 0xFFF, tcp_window_size=window, tcp_hdr_len=header,
            tcp_len=size - header, tcp_options_sack_perm=False,
        )  # fmt: skip
        for name, bit in (("fin", 1), ("syn", 2), ("reset", 4), ("push", 8), ("ack", 16)):
            row[f"tcp_flags_{name}"] = bool(bits & bit)
        _options(data[20:header], row)
    elif proto == 17 and len(data) >= 8:
        (length,) = struct.unpack_from(">H", data, 4)
        row["udp_length"] = length
        if 8 <= length <= size:
            _datagram({row["srcport"], row["dstport"]}, data[8:length], row)
    elif proto in (1, 58) and len(data) >= 8:
        row["icmp_type"], row["icmp_code"] = data[0], data[1]
        if data[0] in ((8, 0) if proto == 1 else (128, 129)):
            row["icmp_ident"], row["icmp_seq"] = struct.unpack_from(">HH", data, 4)


def _options(data: bytes, row: dict) -> None:
    at = 0
    while at < len(data) and data[at] != 0:
        if data[at] == 1:
            at += 1
            continue
        if at + 2 > len(data) or data[at + 1] < 2 or at + data[at + 1] > len(data):
            break
        kind, value = data[at], data[at + 2 : at + data[at + 1]]
        if kind == 2 and len(value) == 2:
            row.setdefault("tcp_options_mss_val", struct.unpack(">H", value)[0])
        elif kind == 3 and len(value) == 1:
            row.setdefault("tcp_options_wscale_shift", value[0])
        elif kind == 4 and not value:
            row["tcp_options_sack_perm"] = True
        elif kind == 5 and value and len(value) % 8 == 0 and "tcp_options_sack_le" not in row:
            row["tcp_options_sack_count"] = len(value) // 8
            row["tcp_options_sack_le"], row["tcp_options_sack_re"] = struct.unpack_from(">II", value)
        elif kind == 8 and len(value) == 8 and "tcp_options_timestamp_tsval" not in row:
            row["tcp_options_timestamp_tsval"], row["tcp_options_timestamp_tsecr"] = struct.unpack(">II", value)
        at += data[at + 1]


def _datagram(ports: set, data: bytes, row: dict) -> None:
    if ports & {53, 5353, 5355}:
        if len(data) >= 12:
            (row["dns_id"],) = struct.unpack_from(">H", data)
            row["dns_response"] = bool(data[2] & 0x80)
    elif (min(ports) == 67 or max(ports) == 68) and data[236:240] == b"\x63\x82\x53\x63":
        at = 240
        for _ in range(64):
            if at >= len(data) or data[at] == 255:
                return
            if data[at] == 0:
                at += 1
                continue
            if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
                return
            if data[at] == 53 and data[at + 1] == 1:
                row["dhcp_type"] = data[at + 2]
                return
            at += 2 + data[at + 1]


class CauseOracle:
    """Causes from dissected rows, with sets of sequence numbers instead of holes: byte by byte what was seen."""

    def __init__(self):
        self.sent: dict = {}

    def tcp(self, row: dict) -> Cause:
        """Cause of a TCP segment by what was seen; knows neither probes nor reordering in time."""
        key = (row["ip_src"], row["srcport"], row["ip_dst"], row["dstport"])
        back = (row["ip_dst"], row["dstport"], row["ip_src"], row["srcport"])
        mine = self.sent.setdefault(key, {"bytes": set(), "acked": 0, "syn": None})
        theirs = self.sent.setdefault(back, {"bytes": set(), "acked": 0, "syn": None})
        span = range(row["tcp_seq"], row["tcp_seq"] + row["tcp_len"] + row["tcp_flags_fin"])
        if row["tcp_flags_ack"]:
            mine["acked"] = max(mine["acked"], row["tcp_ack"])
        if row["tcp_flags_syn"]:
            again, mine["syn"] = mine["syn"] == row["tcp_seq"], row["tcp_seq"]
            return Cause.RETRANSMISSION if again else Cause.HANDSHAKE
        if row["tcp_flags_reset"]:
            return Cause.HANDSHAKE
        if not span:
            return Cause.ACK
        old = all(byte in mine["bytes"] for byte in span)
        mine["bytes"].update(span)
        if old:
            return Cause.DUPLICATE if theirs["acked"] >= span.stop else Cause.RETRANSMISSION
        return Cause.PAYLOAD if row["tcp_len"] else Cause.HANDSHAKE
