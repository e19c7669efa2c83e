"""Traps of the wire that no other test looks at (traps.tsv names a test for each), and that the list is whole."""

import re
import selectors
import socket
import struct
import time

import pytest

from bench import SYSTEM, make_server  # noqa: F401

import esp8266
import legacy
from test_tls_libraries import shown_chain
from table import TRAPS, traps

NEW = esp8266.arduino("plug", "1.0.0", filler=300000)
OLD = esp8266.arduino("plug", "0.9.0")
FIRST_BYTE_S = 5    # what the most impatient device waits for


@pytest.fixture(scope="module")
def server(make_server):  # noqa: F811
    one = make_server("mqtt.mode=off", "legacy.enabled=true", "limits.device_requests=0", "limits.transfers=1000").start()
    shelf = legacy.Shelf(one, "plug", plain_http=True, max_serves=100)
    shelf.publish("0.9.0", firmware=OLD)
    shelf.publish("1.0.0", firmware=NEW)
    return one


def test_every_trap_has_a_test_that_exists():
    for number, _, names in traps():
        for name in names:
            file, _, function = name.partition("::")
            text = next(p for p in (SYSTEM / file, TRAPS.with_name(file)) if p.exists()).read_text()
            assert re.search(rf"^def {function}\(", text, re.M), (number, name)
    assert [int(number) for number, _, _ in traps()] == list(range(1, 41))


def request(server, number):
    device = esp8266.Updater(server, "plug", f"5ccf7d{number:06x}", OLD, version="0.9.0")
    lines = ["GET /update/plug HTTP/1.0", *[f"{n}: {v}" for n, v in device.headers()]]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_the_end_follows_the_last_byte_though_the_device_keeps_its_side_open(server):
    with legacy.connect(server, port="legacy") as link:
        link.sendall(request(server, 1))
        got = b""
        while len(got.partition(b"\r\n\r\n")[2]) < len(NEW):
            got += link.recv(65536)
        began = time.monotonic()
        assert link.recv(1) == b""
        assert time.monotonic() - began < 2


def test_the_first_byte_comes_in_time_though_five_hundred_ask_at_once(server):
    pool = selectors.DefaultSelector()
    links = [socket.create_connection(("127.0.0.1", server.ports["legacy"]), timeout=20) for _ in range(500)]
    try:
        for number, link in enumerate(links):
            link.sendall(request(server, 1000 + number))
            pool.register(link, selectors.EVENT_READ, time.monotonic())
        waited = []
        while len(waited) < len(links):
            ready = pool.select(20)
            assert ready, f"only {len(waited)} of {len(links)} heard anything"
            for key, _ in ready:
                assert key.fileobj.recv(12) == b"HTTP/1.1 200"
                waited.append(time.monotonic() - key.data)
                pool.unregister(key.fileobj)
        assert max(waited) < FIRST_BYTE_S
    finally:
        for link in links:
            link.close()
        pool.close()


def test_over_the_limit_of_transfers_an_old_device_hears_not_now(make_server):  # noqa: F811
    one = make_server("mqtt.mode=off", "legacy.enabled=true", "limits.device_requests=0", "limits.transfers=1").start()
    image = esp8266.arduino("plug", "1.0.0", filler=900000, ident=False)
    legacy.Shelf(one, "plug", plain_http=True, max_serves=100).publish("1.0.0", firmware=image)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(20)
        slow.connect(("127.0.0.1", one.ports["legacy"]))
        slow.sendall(request(one, 2))
        assert slow.recv(12) == b"HTTP/1.1 200"
        got = legacy.send(one, request(one, 3), port="legacy")
        assert (got.status, got.body, got.header("retry-after")) == (304, b"", None)
    one.until(lambda: legacy.send(one, request(one, 4), port="legacy").status == 200)


# ---- the probe of BearSSL on an ESP8266 ------------------------------------------------------------------

SUITES = [0xCCA9, 0xCCA8, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xC023, 0xC027, 0xC009, 0xC013, 0x009C, 0x003C, 0x002F, 0x000A]
CODES = {512: 1, 1024: 2, 2048: 3, 4096: 4}


def hello(size):
    """What probeMaxFragmentLength sends: fixed random, no name of the server, one extension that matters."""
    def extension(kind, data):
        return struct.pack(">HH", kind, len(data)) + data

    random = (bytes(range(1, 9)) + bytes(range(0x11, 0x19))) * 2
    suites = b"".join(struct.pack(">H", s) for s in SUITES)
    more = extension(13, struct.pack(">HHHHH", 8, 0x0401, 0x0403, 0x0501, 0x0503))
    more += extension(10, struct.pack(">HHHHH", 8, 23, 24, 25, 29)) + extension(11, b"\x01\x00") + extension(1, bytes([CODES[size]]))
    body = b"\x03\x03" + random + b"\x00" + struct.pack(">H", len(suites)) + suites + b"\x01\x00" + struct.pack(">H", len(more)) + more
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + struct.pack(">H", len(message)) + message


def probe(server, size):
    """The extensions of the ServerHello, which must be alone in the first record."""
    with socket.create_connection(("127.0.0.1", server.ports["device"]), timeout=20) as link:
        link.sendall(hello(size))
        read = link.makefile("rb")
        kind, version, length = struct.unpack(">BHH", read.read(5))
        record = read.read(length)
        link.sendall(b"\x15\x03\x03\x00\x02\x01\x5a" + b"\x15\x03\x03\x00\x02\x01\x00")     # cancelled by the user; closing
    assert (kind, version, record[0]) == (22, 0x0303, 2)
    assert int.from_bytes(record[1:4], "big") + 4 == length
    at = 4 + 2 + 32
    at += 1 + record[at] + 3
    end = at + 2 + int.from_bytes(record[at:at + 2], "big")
    at += 2
    found = {}
    while at < end:
        name, n = struct.unpack(">HH", record[at:at + 4])
        found[name] = record[at + 4:at + 4 + n]
        at += 4 + n
    assert all(len(data) <= 32 for data in found.values())
    return found


@pytest.mark.client("BearSSL", "0.6", "a hundred probes for short records, then service")
def test_probes_for_short_records_are_answered_and_cost_nothing(server):
    for number in range(100):
        size = list(CODES)[number % 4]
        assert probe(server, size)[1] == bytes([CODES[size]])
    got = legacy.send(server, request(server, 5))
    assert got.status == 200 and got.body == NEW


def test_the_servers_certificate_changes_by_command_alone(server):
    suites = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]
    before = [shown_chain(server, c)[0] for c in suites]
    server.stop()
    server.start()
    assert [shown_chain(server, c)[0] for c in suites] == before
