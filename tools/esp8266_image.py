#!/usr/bin/env python3
"""Writes an ESP8266 .bin as the Arduino core lays it out, from two ELF files.

    esp8266_image.py --boot boot.elf --app app.elf --out firmware.bin [--flash-mode dio] [--flash-size 4M]

The file is two images: the loader's in the first 4 KiB, padded with 0xAA, and the application's at 0x1000. The
application must be linked for the flash window at 0x40201010 and must leave its first two words there zero; they
become the length of the file and a CRC-32 of it with both words zero. Formats: docs/spec/image.md."""

import argparse
import struct
import sys

APP_AT = 0x1000
WINDOW = (0x40200000, 0x40300000)
LENGTH_AT, CRC_AT = 0x1010, 0x1014
MODES = {"qio": 0, "qout": 1, "dio": 2, "dout": 3}
SIZES = {"512K": 0, "256K": 1, "1M": 2, "2M": 3, "4M": 4, "8M": 8, "16M": 9}
EM_XTENSA = 94


class Refused(Exception):
    """The input cannot become an image; the text says what is wrong with it."""


def elf_segments(path):
    """Entry address and [(address, bytes)] of what the linker wants loaded, merged and in order of address."""
    with open(path, "rb") as file:
        elf = file.read()
    if len(elf) < 52 or elf[:6] != b"\x7fELF\x01\x01":
        raise Refused(f"{path}: not a 32-bit little-endian ELF file")
    machine, entry, section_at = struct.unpack_from("<2xHxxxxII", elf, 16)[0], *struct.unpack_from("<I4xI", elf, 24)
    if machine != EM_XTENSA:
        raise Refused(f"{path}: machine {machine}, wanted {EM_XTENSA} (Xtensa)")
    size, count = struct.unpack_from("<HH", elf, 46)
    found = []
    for index in range(count):
        _, kind, flags, address, at, length = struct.unpack_from("<IIIIII", elf, section_at + index * size)
        if kind == 1 and flags & 2 and length:  # SHT_PROGBITS, SHF_ALLOC
            if at + length > len(elf):
                raise Refused(f"{path}: section {index} ends beyond the file")
            found.append((address, elf[at:at + length]))
    if not found:
        raise Refused(f"{path}: nothing to load")
    merged = []
    for address, data in sorted(found):
        if merged and merged[-1][0] + len(merged[-1][1]) == address:
            merged[-1] = (merged[-1][0], merged[-1][1] + data)
        else:
            merged.append((address, data))
    return entry, [(address, data + bytes(-len(data) % 4)) for address, data in merged]


def image(entry, segments, mode, size):
    """One ESP8266 image: header, segments, zeros, and the XOR byte as the last of a block of 16."""
    out = bytearray(struct.pack("<BBBBI", 0xE9, len(segments), mode, size << 4, entry))
    for address, data in segments:
        out += struct.pack("<II", address, len(data)) + data
    out += bytes(15 - len(out) % 16)
    out.append(checksum(segments))
    return bytes(out)


def checksum(segments):
    value = 0xEF
    for _, data in segments:
        for byte in data:
            value ^= byte
    return value


def crc_table():
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


CRC_TABLE = crc_table()


def crc32_msb(data, crc=0xFFFFFFFF):
    """CRC-32, polynomial 0x04C11DB7, most significant bit first, from all ones, without a final xor."""
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ CRC_TABLE[crc >> 24 ^ byte]
    return crc


def firmware(boot, app, mode, size):
    """The whole file: both images, length and CRC in place."""
    boot_entry, boot_segments = boot
    app_entry, app_segments = app
    if len(boot_segments) != 1:
        raise Refused(f"the loader has {len(boot_segments)} segments; the part in sector 0 must be one")
    first = image(boot_entry, boot_segments, mode, size)
    if len(first) > APP_AT:
        raise Refused(f"the loader takes {len(first)} bytes of {APP_AT}")
    window = [segment for segment in app_segments if WINDOW[0] <= segment[0] < WINDOW[1]]
    if len(window) != 1 or window[0][0] != WINDOW[0] + LENGTH_AT:
        raise Refused(f"the application must have one segment in the flash window, at {WINDOW[0] + LENGTH_AT:#x}")
    if window[0][1][:8] != bytes(8):
        raise Refused("the first two words of the flash window are not zero: they are for length and CRC")
    ordered = window + [segment for segment in app_segments if segment is not window[0]]

    out = bytearray(first + b"\xaa" * (APP_AT - len(first)) + image(app_entry, ordered, mode, size))
    fill_length_and_crc(out)
    return bytes(out)


def fill_length_and_crc(out):
    """The CRC covers the XOR byte at the end and the XOR byte covers the CRC: takes the byte with which both hold.
    It always exists: byte -> byte ^ (XOR of the CRC's bytes) is linear and one to one for this polynomial. (The
    Arduino core's own tool leaves the XOR byte as it was before.)"""
    blank, before = out[-1], crc32_msb(out[:-1])
    for byte in range(256):
        words = struct.pack("<II", len(out), crc32_msb(bytes([byte]), before))
        folded = blank
        for value in words:
            folded ^= value
        if folded == byte:
            out[LENGTH_AT:LENGTH_AT + 8] = words
            out[-1] = byte
            return
    raise AssertionError("no XOR byte fits the CRC")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boot", required=True)
    parser.add_argument("--app", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--flash-mode", choices=MODES, default="dio")
    parser.add_argument("--flash-size", choices=SIZES, default="4M")
    args = parser.parse_args()
    try:
        out = firmware(elf_segments(args.boot), elf_segments(args.app), MODES[args.flash_mode], SIZES[args.flash_size])
        with open(args.out, "wb") as file:
            file.write(out)
    except (Refused, OSError, struct.error) as why:
        print(f"esp8266_image.py: {why}", file=sys.stderr)
        return 1
    print(f"{args.out}: {len(out)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
