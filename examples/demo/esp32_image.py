#!/usr/bin/env python3
"""A small ESP32 application image (docs/spec/image.md): header, one segment that begins with the application's descriptor,
XOR byte, appended SHA-256. It says who it is and holds readings; it is not made to run.

    esp32_image.py --project cam --version 1.0.0 --out cam-1.0.0.bin"""

import argparse
import hashlib
import pathlib
import struct

MAGIC, DESCRIPTOR = 0xE9, 0xABCD5432
DROM, IRAM = 0x3F400020, 0x40080000


def descriptor(project, version):
    elf = hashlib.sha256(f"{project} {version}".encode()).digest()
    return struct.pack("<II8x32s32s16s16s32s32sHHBB74x", DESCRIPTOR, 0, version.encode(), project.encode(), b"12:00:00",
                       b"Jan  1 2024", b"v5.3", elf, 0, 0, 0, 0)


def filler(seed, size):
    """Bytes that do not pack well and are the same each time."""
    out = b""
    while len(out) < size:
        out += hashlib.sha256(f"{seed} {len(out)}".encode()).digest()
    return out[:size]


def image(project, version, size=120000, chip=0):
    first = descriptor(project, version) + filler(f"{project} {version}", size & ~3)
    segments = [(DROM, first), (IRAM, bytes(256))]
    out = struct.pack("<BBBBIB3xHBHH4xB", MAGIC, len(segments), 2, 0x20, IRAM, 0xEE, chip, 0, 0, 0, 1)
    check = 0xEF
    for address, data in segments:
        out += struct.pack("<II", address, len(data)) + data
        for byte in data:
            check ^= byte
    out += bytes(-(len(out) + 1) % 16) + bytes([check])
    return out + hashlib.sha256(out).digest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.out.write_bytes(image(args.project, args.version))


if __name__ == "__main__":
    main()
