"""tshark as an oracle: its fields for a file, under the names of our columns."""

import shutil
import subprocess

TSHARK = shutil.which("tshark")
REASON = "tshark is not installed"
_OPTIONS = ("ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.relative_sequence_numbers:FALSE",
            "tcp.desegment_tcp_streams:FALSE", "ip.use_geoip:FALSE")  # fmt: skip

COMMON = {
    "frame_number": ["frame.number"], "point": ["frame.interface_name"], "frame_len": ["frame.len"],
    "frame_cap_len": ["frame.cap_len"], "frame_id": ["frame.packet_id"], "eth_src": ["eth.src"], "eth_dst": ["eth.dst"],
    "eth_type": ["eth.type"], "vlan_id": ["vlan.id"], "ip_version": ["ip.version"],
    "ip_src": ["ip.src", "ipv6.src"], "ip_dst": ["ip.dst", "ipv6.dst"],
    "ip_proto": ["ip.proto", "ipv6.fraghdr.nxt", "ipv6.routing.nxt", "ipv6.dstopts.nxt", "ipv6.hopopts.nxt",
                 "ipv6.nxt"],
    "ip_len": ["ip.len"], "ip_ttl": ["ip.ttl", "ipv6.hlim"], "ip_dsfield": ["ip.dsfield", "ipv6.tclass"],
    "ip_id": ["ip.id"],
    "ip_flags_df": ["ip.flags.df"], "ip_flags_mf": ["ip.flags.mf", "ipv6.fraghdr.more"],
    "ip_frag": ["ip.frag_offset", "ipv6.fraghdr.offset"], "arp_opcode": ["arp.opcode"],
    "arp_src": ["arp.src.proto_ipv4"], "arp_dst": ["arp.dst.proto_ipv4"], "icmp_type": ["icmp.type", "icmpv6.type"],
    "icmp_code": ["icmp.code", "icmpv6.code"], "icmp_ident": ["icmp.ident", "icmpv6.echo.identifier"],
    "icmp_seq": ["icmp.seq", "icmpv6.echo.sequence_number"],
}  # fmt: skip
"""Fields of a frame's own network headers, the first that is there."""
TRANSPORT = {
    "srcport": ["tcp.srcport", "udp.srcport"], "dstport": ["tcp.dstport", "udp.dstport"], "tcp_seq": ["tcp.seq_raw"],
    "tcp_ack": ["tcp.ack_raw"], "tcp_flags": ["tcp.flags"], "tcp_flags_fin": ["tcp.flags.fin"],
    "tcp_flags_syn": ["tcp.flags.syn"], "tcp_flags_reset": ["tcp.flags.reset"], "tcp_flags_push": ["tcp.flags.push"],
    "tcp_flags_ack": ["tcp.flags.ack"], "tcp_window_size": ["tcp.window_size_value"], "tcp_hdr_len": ["tcp.hdr_len"],
    "tcp_len": ["tcp.len"], "tcp_options_mss_val": ["tcp.options.mss_val"],
    "tcp_options_wscale_shift": ["tcp.options.wscale.shift"], "tcp_options_sack_count": ["tcp.options.sack.count"],
    "tcp_options_sack_le": ["tcp.options.sack_le"], "tcp_options_sack_re": ["tcp.options.sack_re"],
    "tcp_options_timestamp_tsval": ["tcp.options.timestamp.tsval"],
    "tcp_options_timestamp_tsecr": ["tcp.options.timestamp.tsecr"], "udp_length": ["udp.length"],
    "dhcp_type": ["dhcp.option.dhcp"], "dns_id": ["dns.id"], "dns_response": ["dns.flags.response"],
}  # fmt: skip
"""Fields that tshark also gives for packets quoted inside ICMP errors; ours are the frame's own."""
ANALYSIS = ("retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order", "keep_alive",
            "keep_alive_ack", "zero_window_probe", "zero_window_probe_ack", "duplicate_ack")  # fmt: skip
_EXTRA = ["frame.time_epoch", "frame.packet_flags_direction", "ipv6.plen", "tcp.options.sack_perm"]
_TEXT = {"point", "eth_src", "eth_dst", "ip_src", "ip_dst", "arp_src", "arp_dst"}


def fields(path, names) -> list[dict[str, str]]:
    """The named fields of each frame, first occurrence, as tshark prints them; absent ones are ""."""
    command = [TSHARK, "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f", "-E", "separator=\x1f"]
    for option in _OPTIONS:
        command += ["-o", option]
    for name in names:
        command += ["-e", name]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    return [dict(zip(names, line.split("\x1f"), strict=True)) for line in text.splitlines()]


def _value(column: str, text: str):
    if column in _TEXT:
        return text
    return {"True": 1, "False": 0}.get(text) if text in ("True", "False") else int(text, 0)


def columns(path) -> list[dict]:
    """What tshark says about each frame, under our column names, nulls left out."""
    mapping = COMMON | TRANSPORT
    names = sorted({name for fields_of in mapping.values() for name in fields_of} | set(_EXTRA))
    rows = []
    for raw in fields(path, names):
        row = {}
        own = not raw["icmp.type"] and not raw["icmpv6.type"]
        for column, candidates in (mapping if own else COMMON).items():
            text = next((raw[name] for name in candidates if raw[name]), "")
            if text:
                row[column] = _value(column, text)
        if raw["ipv6.plen"] and not raw["ip.len"]:
            row["ip_len"] = int(raw["ipv6.plen"]) + 40
        if "tcp_seq" in row:
            row["tcp_options_sack_perm"] = int(bool(raw["tcp.options.sack_perm"]))
        seconds, _, fraction = raw["frame.time_epoch"].partition(".")
        row["frame_time"] = int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
        if raw["frame.packet_flags_direction"]:
            row["direction"] = {1: "rx", 2: "tx"}[int(raw["frame.packet_flags_direction"], 0)]
        rows.append(row)
    return rows
