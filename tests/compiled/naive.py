"""Byte access and the checksum as RFC 1071 writes it."""


def read(data, offset, size, order="big", signed=False):
    return int.from_bytes(data[offset : offset + size], order, signed=signed)


def write(data, offset, size, value, order="big"):
    data[offset : offset + size] = (value % (1 << (8 * size))).to_bytes(size, order)


def ones_complement_sum(data):
    total = 0
    for i in range(0, len(data), 2):
        total += data[i] << 8 | (data[i + 1] if i + 1 < len(data) else 0)
        total = (total & 0xFFFF) + (total >> 16)
    return total
