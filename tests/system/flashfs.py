"""Readers of file systems of devices, from the formats' own descriptions (docs/spec/fs-image.md). Each gives
{path: bytes} and asserts what a device relies on. LittleFS is read by the genuine library."""

import struct
import zlib

import littlefs


def read_littlefs(image, block=8192, unit=64, cache=64, name_max=32):
    """As the ESP8266 core mounts it by default; unit 128, cache 512, name_max 64 is esp_littlefs."""
    return files_of(mount(image, block, unit, cache, name_max))


def mount(image, block=8192, unit=64, cache=64, name_max=32):
    fs = littlefs.LittleFS(block_size=block, block_count=len(image) // block, read_size=unit, prog_size=unit,
                           cache_size=cache, name_max=name_max, mount=False)
    fs.context.buffer = bytearray(image)
    fs.mount()
    return fs


def files_of(fs):
    found = {}
    for root, _, names in fs.walk("/"):
        for name in names:
            path = root.rstrip("/") + "/" + name
            with fs.open(path, "rb") as file:
                found[path] = file.read()
    return found


def read_spiffs(image, block=8192, page=256, esp32=False):
    """Lookup tables first, as SPIFFS itself finds its files: a page that its block's table does not name is not there."""
    pages, blocks = block // page, len(image) // block
    lookup = -(-pages * 2 // page)
    heads, data, tables = {}, {}, {}
    for b in range(blocks):
        table = image[b * block:b * block + lookup * page]
        magic = (0x20140529 ^ page ^ ((blocks - b) if esp32 else 0)) & 0xFFFF
        assert struct.unpack_from("<H", table, len(table) - 4)[0] == magic, f"block {b} has no magic"
        for i in range(pages - lookup):
            (named,) = struct.unpack_from("<H", table, i * 2)
            number = b * pages + lookup + i
            raw = image[number * page:(number + 1) * page]
            if named == 0xFFFF:
                assert raw == b"\xff" * page, f"page {number} is used but not in its table"
                continue
            assert named != 0
            obj, span, flags = struct.unpack_from("<HHB", raw)
            assert obj == named
            if obj & 0x8000:
                assert flags == 0xF8 and raw[5:8] == b"\xff" * 3
                tables[obj & 0x7FFF, span] = raw
                if span == 0:
                    size, kind = struct.unpack_from("<IB", raw, 8)
                    assert kind == 1
                    heads[obj & 0x7FFF] = (raw[13:45].split(b"\0")[0].decode(), size)
            else:
                assert flags == 0xFC
                data[number] = (obj, span, raw[5:])
    found, first = {}, 13 + 32 + (4 if esp32 else 1)
    for obj, (name, size) in heads.items():
        body, span, at = b"", 0, 0
        while len(body) < size:
            start = first if span == 0 else 8
            if start + 2 * at + 2 > page:
                span, at = span + 1, 0
                continue
            (number,) = struct.unpack_from("<H", tables[obj, span], start + 2 * at)
            owner, nth, part = data.pop(number)
            assert (owner, nth) == (obj, len(body) // (page - 5))
            body, at = body + part, at + 1
        assert name not in found
        found[name] = body[:size]
        assert body[size:] == b"\xff" * (len(body) - size)
    assert not data, "pages that no index names"
    return found


def read_nvs(image):
    """{(namespace, key): bytes} of blobs."""
    spaces, chunks, indexes, free = {}, {}, {}, 0
    for at in range(0, len(image), 4096):
        page = image[at:at + 4096]
        state, sequence = struct.unpack_from("<II", page)
        if state == 0xFFFFFFFF:
            assert page == b"\xff" * 4096
            free += 1
            continue
        assert free == 0 and sequence == at // 4096 and page[8] == 0xFE
        last = struct.unpack_from("<I", image, at + 4096)[0] == 0xFFFFFFFF
        assert state == (0xFFFFFFFE if last else 0xFFFFFFFC)
        assert struct.unpack_from("<I", page, 28)[0] == zlib.crc32(page[4:28], 0xFFFFFFFF)
        i = 0
        while i < 126:
            marks = page[32 + i // 4] >> (i % 4 * 2) & 3
            if marks == 3:
                assert page[64 + 32 * i:] == b"\xff" * (4096 - 64 - 32 * i)
                break
            assert marks == 2
            raw = page[64 + 32 * i:96 + 32 * i]
            space, kind, rows, chunk, crc = struct.unpack_from("<BBBBI", raw)
            assert crc == zlib.crc32(raw[:4] + raw[8:], 0xFFFFFFFF)
            assert 0 < rows and i + rows <= 126
            key = raw[8:24].rstrip(b"\0").decode()
            assert len(key) <= 15
            if space == 0:
                assert kind == 0x01 and raw[24] not in spaces
                spaces[raw[24]] = key
            elif kind == 0x42:
                size, crc = struct.unpack_from("<H2xI", raw, 24)
                body = page[96 + 32 * i:96 + 32 * i + size]
                assert rows == 1 + -(-size // 32) and crc == zlib.crc32(body, 0xFFFFFFFF)
                chunks[space, key, chunk] = body
            else:
                assert kind == 0x48 and chunk == 0xFF
                indexes[space, key] = struct.unpack_from("<IBB", raw, 24)
            i += rows
    assert free > 0, "no page is free"
    found = {}
    for (space, key), (size, n, first) in indexes.items():
        body = b"".join(chunks.pop((space, key, first + i)) for i in range(n))
        assert len(body) == size
        found[spaces[space], key] = body
    assert not chunks
    return found
