#!/usr/bin/env python3
"""Writes the table behind meter.c: power in watts for each pulse distance in milliseconds.

An S0 output gives 1,000 pulses a kilowatt-hour, so power = 3,600,000 / distance. The lx106 has no divider; the table
takes the place of a 32-bit division in the interrupt's budget."""

ENTRIES = 50_000
PULSES_PER_KWH = 1000

print("/* written by watts.py */")
print(f"enum {{ WATTS_N = {ENTRIES} }};")
print('static const uint32_t watts[WATTS_N] __attribute__((section(".irom.table"), aligned(4))) = {')
for first in range(0, ENTRIES, 10):
    row = (3_600_000_000 // PULSES_PER_KWH // max(ms, 1) for ms in range(first, first + 10))
    print("    " + ", ".join(str(watt) for watt in row) + ",")
print("};")
