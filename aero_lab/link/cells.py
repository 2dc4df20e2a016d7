"""Where everything lies in a pipe: the byte array that is one direction of a link (see :mod:`.pipe`).

A header, a table of stages, entries for the frames in flight, a heap of the moments they wait for, tables that stages
brought along (a recorded trace, the queues of FQ-CoDel), and an arena with the bytes of the frames. All cells are
``int64`` in the machine's own order.
"""

from __future__ import annotations

from ..compiled.memory import i64_native_field, put_i64_native_field

# Header.
STAGE_COUNT, SLOTS, ARENA_SIZE, ENTRIES, HEAP, ARENA = 0, 8, 16, 24, 32, 40
LINE = 48
"""Where the stage with a managed queue is, 0 when there is none."""
HEAD, TAIL, ARENA_HEAD, ARENA_TAIL, HEAP_SIZE, ORDER = 64, 72, 80, 88, 96, 104
FRAMES_IN, BYTES_IN, FRAMES_OUT, BYTES_OUT, OVERSIZE, COPIES_REFUSED, IN_FLIGHT = 128, 136, 144, 152, 160, 168, 176
stage_count, slots, arena_size = i64_native_field(STAGE_COUNT), i64_native_field(SLOTS), i64_native_field(ARENA_SIZE)
entries_at, heap_at, arena_at = i64_native_field(ENTRIES), i64_native_field(HEAP), i64_native_field(ARENA)
line_at = i64_native_field(LINE)
get_head, put_head = i64_native_field(HEAD), put_i64_native_field(HEAD)
get_tail, put_tail = i64_native_field(TAIL), put_i64_native_field(TAIL)
get_arena_head, put_arena_head = i64_native_field(ARENA_HEAD), put_i64_native_field(ARENA_HEAD)
get_arena_tail, put_arena_tail = i64_native_field(ARENA_TAIL), put_i64_native_field(ARENA_TAIL)
get_heap_size, put_heap_size = i64_native_field(HEAP_SIZE), put_i64_native_field(HEAP_SIZE)
get_order, put_order = i64_native_field(ORDER), put_i64_native_field(ORDER)

# A stage: its parameters, then what it keeps in mind when the link changes, then what is built anew.
STAGE_TABLE, STAGE_SIZE = 256, 512
STAGE_KEPT, STAGE_BUILT = 160, 320
"""Where in a stage its parameters end and what it keeps begins, and where that ends."""
STAGE_CELLS = {
    "kind": 0,
    "p": 8,
    "ns": 16,
    "spread": 24,
    "rate": 32,
    "limit": 40,
    "leave": 48,
    "p_bad": 56,
    "table": 64,
    "table_size": 72,
    "mode": 80,
    "interval": 88,
    "flows": 96,
    "flows_at": 104,
    "quantum": 112,
    "ecn": 120,
    "medium": 128,
    "start": 136,
    "packets": 144,
    "random": 184,
    "hits": 216,
    "bytes": 224,
    "state": 232,
    "until": 240,
    "dropped": 248,
    "marked": 256,
    "not_ect": 264,
    "timer": 320,
    "current": 328,
    "new_head": 368,
    "new_tail": 376,
    "old_head": 384,
    "old_tail": 392,
}
"""The cells that Python writes or reads by name."""
BUSY_UNTIL, REMAINDER, TURN = 160, 168, 344
get_kind, get_p = i64_native_field(0), i64_native_field(8)
get_ns, get_spread = i64_native_field(16), i64_native_field(24)
get_rate, get_limit = i64_native_field(32), i64_native_field(40)
get_leave, get_p_bad = i64_native_field(48), i64_native_field(56)
get_table, get_table_size = i64_native_field(64), i64_native_field(72)
get_mode, get_interval = i64_native_field(80), i64_native_field(88)
get_flows, get_flows_at, get_quantum = i64_native_field(96), i64_native_field(104), i64_native_field(112)
get_ecn, get_medium = i64_native_field(120), i64_native_field(128)
get_start, get_packets_most = i64_native_field(136), i64_native_field(144)
# Kept.
get_busy_until, put_busy_until = i64_native_field(BUSY_UNTIL), put_i64_native_field(BUSY_UNTIL)
get_remainder, put_remainder = i64_native_field(REMAINDER), put_i64_native_field(REMAINDER)
get_last_due, put_last_due = i64_native_field(176), put_i64_native_field(176)
get_a, put_a = i64_native_field(184), put_i64_native_field(184)
get_b, put_b = i64_native_field(192), put_i64_native_field(192)
get_c, put_c = i64_native_field(200), put_i64_native_field(200)
get_d, put_d = i64_native_field(208), put_i64_native_field(208)
get_hits, put_hits = i64_native_field(216), put_i64_native_field(216)
get_hit_bytes, put_hit_bytes = i64_native_field(224), put_i64_native_field(224)
get_state, put_state = i64_native_field(232), put_i64_native_field(232)
get_until, put_until = i64_native_field(240), put_i64_native_field(240)
get_dropped, put_dropped = i64_native_field(248), put_i64_native_field(248)
get_marked, put_marked = i64_native_field(256), put_i64_native_field(256)
get_not_ect, put_not_ect = i64_native_field(264), put_i64_native_field(264)
get_chance, put_chance = i64_native_field(272), put_i64_native_field(272)
get_accumulated, put_accumulated = i64_native_field(280), put_i64_native_field(280)
get_delay_before, put_delay_before = i64_native_field(288), put_i64_native_field(288)
get_burst, put_burst = i64_native_field(296), put_i64_native_field(296)
get_update, put_update = i64_native_field(304), put_i64_native_field(304)
get_largest, put_largest = i64_native_field(312), put_i64_native_field(312)
# Built anew when the link changes.
get_timer, put_timer = i64_native_field(320), put_i64_native_field(320)
get_current, put_current = i64_native_field(328), put_i64_native_field(328)
get_left, put_left = i64_native_field(336), put_i64_native_field(336)
get_turn, put_turn = i64_native_field(TURN), put_i64_native_field(TURN)
get_queued, put_queued = i64_native_field(352), put_i64_native_field(352)
get_packets, put_packets = i64_native_field(360), put_i64_native_field(360)
get_new_head, put_new_head = i64_native_field(368), put_i64_native_field(368)
get_new_tail, put_new_tail = i64_native_field(376), put_i64_native_field(376)
get_old_head, put_old_head = i64_native_field(384), put_i64_native_field(384)
get_old_tail, put_old_tail = i64_native_field(392), put_i64_native_field(392)
get_sojourn, put_sojourn = i64_native_field(400), put_i64_native_field(400)

# A flow of a managed queue: its frames, its place among the flows, and CoDel's state (RFC 8289 section 5.2).
FLOW_SIZE = 88
get_first, put_first = i64_native_field(0), put_i64_native_field(0)
get_last, put_last = i64_native_field(8), put_i64_native_field(8)
get_backlog, put_backlog = i64_native_field(16), put_i64_native_field(16)
get_deficit, put_deficit = i64_native_field(24), put_i64_native_field(24)
get_flow_next, put_flow_next = i64_native_field(32), put_i64_native_field(32)
get_listed, put_listed = i64_native_field(40), put_i64_native_field(40)
get_first_above, put_first_above = i64_native_field(48), put_i64_native_field(48)
get_drop_next, put_drop_next = i64_native_field(56), put_i64_native_field(56)
get_count, put_count = i64_native_field(64), put_i64_native_field(64)
get_lastcount, put_lastcount = i64_native_field(72), put_i64_native_field(72)
get_dropping, put_dropping = i64_native_field(80), put_i64_native_field(80)

# An entry: a frame in flight.
ENTRY_SIZE = 88
FREED = -1
get_off, put_off = i64_native_field(0), put_i64_native_field(0)
get_len, put_len = i64_native_field(8), put_i64_native_field(8)
get_id, put_id = i64_native_field(16), put_i64_native_field(16)
get_flow, put_flow = i64_native_field(24), put_i64_native_field(24)
get_cause, put_cause = i64_native_field(32), put_i64_native_field(32)
get_flags, put_flags = i64_native_field(40), put_i64_native_field(40)
ENTRY_STAGE = 48
get_stage, put_stage = i64_native_field(ENTRY_STAGE), put_i64_native_field(ENTRY_STAGE)
get_arena_end, put_arena_end = i64_native_field(56), put_i64_native_field(56)
get_arena_begin, put_arena_begin = i64_native_field(64), put_i64_native_field(64)
ENTRY_NEXT, ENTRY_CAME = 72, 80
get_next, put_next = i64_native_field(ENTRY_NEXT), put_i64_native_field(ENTRY_NEXT)
get_came, put_came = i64_native_field(ENTRY_CAME), put_i64_native_field(ENTRY_CAME)

# A place on the heap: due time, then order of arrival and slot in one number.
PLACE_SIZE = 16
SLOT_BITS = 16
get_due, put_due = i64_native_field(0), put_i64_native_field(0)
get_key, put_key = i64_native_field(8), put_i64_native_field(8)
