"""Deterministic CBOR, the subset that Pagurus uses. Independent of the C code on purpose."""


def _head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    for extra, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 1 << (8 * size):
            return bytes([major << 5 | extra]) + n.to_bytes(size, "big")
    raise ValueError("too large")


class Tag:
    """A tagged value."""

    def __init__(self, number, value):
        self.number = number
        self.value = value


def dumps(v):
    """The one deterministic encoding of v."""
    if v is None:
        return b"\xf6"
    if v is True or v is False:
        return b"\xf5" if v else b"\xf4"
    if isinstance(v, int):
        return _head(0, v) if v >= 0 else _head(1, -1 - v)
    if isinstance(v, (bytes, bytearray)):
        return _head(2, len(v)) + bytes(v)
    if isinstance(v, str):
        raw = v.encode()
        return _head(3, len(raw)) + raw
    if isinstance(v, (list, tuple)):
        return _head(4, len(v)) + b"".join(dumps(x) for x in v)
    if isinstance(v, dict):
        pairs = sorted((dumps(k), dumps(x)) for k, x in v.items())
        return _head(5, len(v)) + b"".join(k + x for k, x in pairs)
    if isinstance(v, Tag):
        return _head(6, v.number) + dumps(v.value)
    raise TypeError(type(v))


def _load(raw, at):
    major, low = raw[at] >> 5, raw[at] & 31
    at += 1
    n = low
    if major == 7:
        return {20: False, 21: True, 22: None}[low], at
    if low >= 24:
        size = {24: 1, 25: 2, 26: 4, 27: 8}[low]
        n = int.from_bytes(raw[at:at + size], "big")
        at += size
    if major == 0:
        return n, at
    if major == 1:
        return -1 - n, at
    if major in (2, 3):
        part = raw[at:at + n]
        assert len(part) == n
        return (part if major == 2 else part.decode()), at + n
    if major == 4:
        items = []
        for _ in range(n):
            item, at = _load(raw, at)
            items.append(item)
        return items, at
    if major == 5:
        out = {}
        for _ in range(n):
            key, at = _load(raw, at)
            out[key], at = _load(raw, at)
        return out, at
    value, at = _load(raw, at)
    return Tag(n, value), at


def loads(raw):
    """Exactly one value."""
    value, at = _load(raw, 0)
    assert at == len(raw), "bytes after the value"
    return value
