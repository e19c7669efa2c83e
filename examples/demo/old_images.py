"""A small image as the Arduino core lays it out (docs/spec/image.md): boot loader at 0, sketch at 0x1000, with an identity
block and, if wanted, the public key that the sketch checks its next image by. It is not made to run."""

import hashlib
import struct

MARK = b"\x7fPAGURUS-ID\x01\r\n\x1a"
APP_AT, FLASH_4M_40M, DIO = 0x1000, 0x40, 2
IRAM, BOOT, IROM = 0x40100000, 0x4010F000, 0x40201010


def part(segments, entry):
    out = struct.pack("<BBBBI", 0xE9, len(segments), DIO, FLASH_4M_40M, entry)
    check = 0xEF
    for address, data in segments:
        out += struct.pack("<II", address, len(data)) + data
        for byte in data:
            check ^= byte
    size = (len(out) + 16) & ~15
    return out + bytes(size - len(out) - 1) + bytes([check])


def image(product, version, hardware, size, key=""):
    """key: PEM of the public key, as Arduino's signing header holds it."""
    body = struct.pack("<16s32s32s16sI28s", MARK, product.encode(), version.encode(), hardware.encode(), 0, b"")
    for n in range(size // 32):
        body += hashlib.sha256(f"{product} {version} {n}".encode()).digest()
    body += key.encode() + b"\0" if key else b""
    body += bytes(-len(body) % 4)
    boot = part([(BOOT, bytes(64))], BOOT)
    return boot + bytes(APP_AT - len(boot)) + part([(IRAM, bytes(32)), (IROM, body)], IRAM)
