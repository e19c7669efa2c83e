"""Attacks on the HTTP listeners; H.. and N.. are rows of docs/spec/security-tests.md."""

import base64
import hashlib
import itertools
import re
import socket
import threading
import time

import pytest

import attacks
import cborish
import signing
from test_native import check_body

LISTENERS = ["console", "device", "legacy"]
PATH = {"console": b"/healthz", "device": b"/update/nothing", "legacy": b"/update/nothing"}
SMUGGLED = b"DELETE /smuggled HTTP/1.1\r\nHost: s\r\n\r\n"


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "legacy.enabled=yes", "limits.header_time=2s", "limits.write_time=3s").start()


@pytest.fixture(scope="module")
def owner(server):
    return signing.Publisher(server, "meter")


@pytest.fixture(scope="module")
def device(server, owner):
    return server.enroll("meter", "84f3eb0b0001")


def entitled(server, mac):
    """A device of its own that has just been offered the newest release."""
    made = server.enroll("meter", mac)
    assert made.request("POST", "/v1/check", check_body(), attacks.CBOR).status == 200
    return made


# ---- one message, one reading ------------------------------------------------------------------------------

LENGTHS = [b"Content-Length: %d", b"Content-Length : %d", b"Content-Length: +%d", b"Content-Length: -%d",
           b"Content-Length: 0x%x", b"Content-Length: %d, %d", b"Content-Length: %d;", b"Content-Length: \"%d\"",
           b"Content-Length: %d\r\nContent-Length: %d", b"Content-Length: %d\r\nContent-Length: 0",
           b"Content-Length: 0\r\ncontent-length: %d", b"Content-Length: \x0b%d", b"Content-Length:\r\n %d",
           b"Content-Length: %d\r\n ", b"X: y\nContent-Length: %d", b"Content-Length: %d 0", b"Content-Length: ",
           b"Content-Length: 18446744073709551616", b"Content-Length: 9999999999999999999", b"Content-Length: %d\x00",
           b"Content-Length\x00: %d", b"Content-Length: 1e2"]
ENCODINGS = [b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding: xchunked",
             b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: gzip",
             b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
             b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", b"Transfer-Encoding: \x0bchunked",
             b" Transfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked", b"X: y\nTransfer-Encoding: chunked",
             b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding\x80: chunked", b"Transfer-Encoding: chunked\x00",
             b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding:"]
CHUNKS = [b"0x0\r\n\r\n", b"-0\r\n\r\n", b"+0\r\n\r\n", b"000000000\r\n\r\n", b"0\n\n", b" 0\r\n\r\n", b"0 \n\r\n", b"g\r\n\r\n",
          b"1\r\nxy\r\n0\r\n\r\n", b"1\r\nx0\r\n\r\n", b"100000000\r\n", b"ffffffffffffffff\r\n", b"\r\n0\r\n\r\n",
          b"1\nx\n0\n\n", b"2\r\nx\r\n0\r\n\r\n", b"0;\n\r\n", b"0\r\nX\x00: y\r\n\r\n" + b"a" * 5000]
LINES = [b"GET  %s HTTP/1.1", b"GET %s  HTTP/1.1", b"GET %s HTTP/1.1 ", b" GET %s HTTP/1.1", b"GET\t%s HTTP/1.1", b"GET %s",
         b"GET %s HTTP/1.1\x00", b"GET %s\x00 HTTP/1.1", b"GET %s HTTP/1.1\rX", b"G(T %s HTTP/1.1", b"GET %s HTTP/11",
         b"GET %s http/1.1", b"GET %s HTTP/1,1", b"GET \x01%s HTTP/1.1", b"GET %s HTTP/1.10", b"GET %s HTTP/01.1",
         b"GET %s#x y HTTP/1.1", b"GET %s HTTPS/1.1", b"\x16\x03\x01 %s HTTP/1.1", b"GET \x7f%s HTTP/1.1"]
FIELDS = [b"Host: a\r\nHost: b", b"Host: a\r\nHost: a", b"X: y", b"Host a", b"Host: a\r\n: x", b"Host: a\r\nX\r\nY: z",
          b"Host: a\r\nX y: z", b"Host: a\r\nX: \x00", b"Host: a\r\nX: a\x08", b"Host: a\r\nX: a\rY: z", b"Host: a\nX: y",
          b"Host: a\r\n\tfolded", b"Host: a\r\nX\x7f: y", b"Host: a\r\nX: y\r\r\n", b"Host : a", b"\rHost: a",
          b"Host: a\r\n(X): y", b"Host: a\r\nX\xe9: y"]


def smuggling(path):
    """Messages that two readers could cut differently, each followed by a request that must not be answered."""
    start = b"POST " + path + b" HTTP/1.1\r\nHost: a\r\n"
    n = len(SMUGGLED)

    def line(text):
        return text.replace(b"%d", b"%d" % n).replace(b"%x", b"%x" % n)

    for length in LENGTHS[1:]:
        yield start + line(length) + b"\r\n\r\n" + SMUGGLED
    for encoding in ENCODINGS[1:]:
        yield start + encoding + b"\r\n\r\n0\r\n\r\n" + SMUGGLED
    for length, encoding in itertools.product(LENGTHS[:9], ENCODINGS[:9]):
        for fields in ((length, encoding), (encoding, length)):
            yield start + b"\r\n".join(line(f) for f in fields) + b"\r\n\r\n0\r\n\r\n" + SMUGGLED
    for target in LINES:
        yield target.replace(b"%s", path) + b"\r\nHost: a\r\n\r\n" + SMUGGLED
    for fields in FIELDS:
        yield b"GET " + path + b" HTTP/1.1\r\n" + fields + b"\r\n\r\n" + SMUGGLED
    yield b"POST " + path + b" HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED
    yield b"GET " + path + b"\r\n\r\n" + SMUGGLED
    yield b"\r\n\r\nGET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED
    yield b"GET " + path + b" HTTP/1.1\nHost: a\n\n" + SMUGGLED


@pytest.mark.parametrize("listener", LISTENERS)
def test_h1_what_could_be_read_in_two_ways_is_refused_once_and_closed(server, listener):
    table = list(smuggling(PATH[listener]))
    assert len(table) >= 200 and len(set(table)) == len(table)

    def one(message):
        statuses, closed, data = attacks.talk(server, listener, message)
        assert closed and len(statuses) == 1 and statuses[0] in (400, 501, 505), (message, statuses, closed, data[:300])

    attacks.in_parallel([lambda m=m: one(m) for m in table], 8)
    attacks.alive(server)


@pytest.mark.parametrize("listener", ["console", "device"])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_h1_broken_chunks_end_the_connection(server, device, listener, chunk):
    path, who = (b"/api/v1/products", None) if listener == "console" else (b"/v1/check", device)
    token = b"Authorization: Bearer " + server.token.encode() + b"\r\n"  # without it the body is not looked at
    message = b"POST " + path + b" HTTP/1.1\r\nHost: a\r\n" + token + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + SMUGGLED
    statuses, closed, data = attacks.talk(server, listener, message, who)
    assert closed and len(statuses) == 1 and statuses[0] in (400, 413), (statuses, data[:300])


@pytest.mark.parametrize("listener", LISTENERS)
def test_h1_a_body_that_is_refused_is_not_read_as_a_request(server, listener):
    message = b"GET " + PATH[listener] + b" HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED
    statuses, closed, _ = attacks.talk(server, listener, message)
    assert closed and statuses in ([413], [404]), statuses


# ---- limits ------------------------------------------------------------------------------------------------

BOMBS = {
    "65 fields": (b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(64)) + b"\r\n", 431),
    "a hundred thousand fields": (b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100000 + b"\r\n", 431),
    "one field of 8 KiB": (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 8192 + b"\r\n\r\n", 431),
    "one field of 1 MiB": (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n", 431),
    "a name of 1 MiB": (b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"y" * (1 << 20) + b": z\r\n\r\n", 431),
    "a target of 8 KiB": (b"GET /" + b"y" * 8192 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a target of 1 MiB": (b"GET /" + b"y" * (1 << 20) + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a method of 1 MiB": (b"G" * (1 << 20), 414),
    "no line end": (b"\0" * (1 << 20), 400),
    "blank lines": (b"\r\n" * (1 << 19), 400),
}


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("name", list(BOMBS))
def test_h2_a_head_over_the_limit_is_refused(server, listener, name):
    message, status = BOMBS[name]
    statuses, closed, data = attacks.talk(server, listener, message)
    assert closed and len(statuses) == 1, (statuses, data[:200])
    assert statuses == [status]


def test_h2_bombs_leave_no_memory_behind(server):
    bombs = [message for message, _ in BOMBS.values()]
    attacks.in_parallel([lambda m=m: attacks.talk(server, "legacy", m) for m in bombs * 3], 8)
    before = attacks.resident_kb(server.process.pid)
    attacks.in_parallel([lambda m=m: attacks.talk(server, "legacy", m) for m in bombs * 20], 8)
    assert attacks.resident_kb(server.process.pid) - before < 8 << 10


def closed_within(link, seconds):
    return attacks.read_all(link, seconds)[1]


def test_h3_slow_heads_are_ended_and_others_are_served_meanwhile(server, device):
    slow, listeners = [], ["legacy", "console", "device", "legacy"]
    for i in range(400):
        link = attacks.connect(server, listeners[i % 4])
        link.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        slow.append(link)
    stop = threading.Event()

    def drip():
        while not stop.wait(0.4):
            for link in slow:
                try:
                    link.sendall(b"s")
                except OSError:
                    pass

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        times = []
        begin = time.monotonic()
        while time.monotonic() - begin < 2:
            start = time.monotonic()
            assert device.request("GET", "/v1/trust/1").status == 200
            times.append(time.monotonic() - start)
        assert sorted(times)[int(len(times) * 0.9)] < 0.2, max(times)
        time.sleep(1)
        for link in slow:
            assert closed_within(link, 5)
        assert time.monotonic() - begin < 10
    finally:
        stop.set()
        dripping.join()
        for link in slow:
            link.close()
    server.until(lambda: attacks.metric(server, 'pagurus_http_connections{listener="legacy"}') == 0)


def test_h3_a_slow_body_is_408(server, device):
    with attacks.connect(server, "device", device) as link:
        link.sendall(b"POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n")
        begin = time.monotonic()
        data = b""
        link.settimeout(0.2)
        while time.monotonic() - begin < 15 and not data:
            link.sendall(b"x")
            try:
                data = link.recv(4096)
            except (socket.timeout, TimeoutError):
                pass
    assert data.startswith(b"HTTP/1.1 408 ") and 4 < time.monotonic() - begin < 12


def test_h3_a_reader_that_stalls_is_cut(server, owner):
    owner.publish("0.9.0", b"\x7fELF" + open("/bin/true", "rb").read()[4:] + bytes(6 << 20))
    digest = hashlib.sha256(open("/bin/true", "rb").read() + bytes(6 << 20)).hexdigest()
    device = entitled(server, "84f3eb0b0002")
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.connect(("127.0.0.1", server.ports["device"]))
    with attacks.context(server, device).wrap_socket(link, server_hostname="localhost") as tls:
        tls.sendall(b"GET /v1/blob/" + digest.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert tls.recv(100).startswith(b"HTTP/1.1 200 ")
        name = 'pagurus_http_connections{listener="device"}'
        assert attacks.metric(server, name) == 1
        server.until(lambda: attacks.metric(server, name) == 0, 10)


@pytest.mark.parametrize("length", [b"5000", b"1048577", b"999999999999999999"])
def test_a_length_over_the_limit_is_413_before_a_byte_of_it(server, device, length):
    for path in (b"/v1/check", b"/v1/report", b"/v1/enroll"):
        with attacks.connect(server, "device", device) as link:
            link.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: " + length +
                         b"\r\n\r\n")
            data, closed = attacks.read_all(link)
        assert data.startswith(b"HTTP/1.1 413 ") and closed


def test_an_endless_chunked_body_is_cut_at_the_limit(server, device):
    with attacks.connect(server, "device", device) as link:
        link.sendall(b"POST /v1/check HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 4 << 20:
                link.sendall(b"400\r\n" + bytes(1024) + b"\r\n")
                sent += 1024
        except OSError:
            pass
        data, closed = attacks.read_all(link)
    assert closed and (data == b"" or data.startswith(b"HTTP/1.1 413 ")) and sent < 4 << 20


def test_expectations(server, device):
    ask = check_body()
    head = b"POST /v1/check HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n" % len(ask)
    statuses, _, _ = attacks.talk(server, "device", head + b"Expect: 100-continue\r\n\r\n" + ask, device)
    assert statuses in ([100, 204], [100, 200], [204], [200])
    for bad in (b"x", b"100-continue, x", b"101-continue", b"100-continue x"):
        statuses, closed, _ = attacks.talk(server, "device", head + b"Expect: " + bad + b"\r\n\r\n" + ask, device)
        assert statuses == [417] and closed, bad
    with attacks.connect(server, "device") as link:  # refused by admission: no invitation to send
        link.sendall(head + b"Expect: 100-continue\r\n\r\n")
        data, closed = attacks.read_all(link)
    assert data.startswith(b"HTTP/1.1 401 ") and closed


# ---- ranges ------------------------------------------------------------------------------------------------

WHOLE = ["bytes=0-1,3-4", "bytes=" + ",".join(f"{i}-" for i in range(1500)), "bytes=0-,0-,0-,0-", "bytes=-1,-2", "bits=0-1",
         "bytes=5-2", "bytes=a-b", "bytes", "bytes=", "bytes=-", "bytes=--1", "bytes=1-2-3", "bytes=+1-2", "bytes=0x1-2",
         "bytes 0-1", "bytes=18446744073709551616-", "=0-1", "bytes=1.5-2", "bytes=0-1;",
         "bytes=\"0-1\"", "BYTES:0-1"]
BEYOND = ["bytes=99999999-", "bytes=99999999-99999999999", "bytes=-0", "bytes=999999999999999999-"]


def test_h16_a_range_that_is_none_gives_the_whole_or_416(server, owner):
    image = open("/bin/true", "rb").read() + b"range"
    owner.publish("0.9.1", image)
    device = entitled(server, "84f3eb0b0003")
    path = "/v1/blob/" + hashlib.sha256(image).hexdigest()
    for text in WHOLE:
        reply = device.request("GET", path, headers={"Range": text})
        assert reply.status in (200, 416) and (reply.status == 416 or reply.body == image), (text[:40], reply.status)
        assert len(reply.body) <= len(image) and reply.header("Content-Type") != "multipart/byteranges"
    for text in BEYOND:
        reply = device.request("GET", path, headers={"Range": text})
        assert (reply.status, reply.header("Content-Range")) == (416, f"bytes */{len(image)}"), text
    for text, part in (("bytes=0-0", image[:1]), ("bytes=-5", b"range"), ("bytes=3-", image[3:]),
                       ("bytes=2-99999999999", image[2:]), ("bytes=-99999999", image),
                       ("bytes=0-18446744073709551616", image), ("bytes=-18446744073709551617", image)):
        reply = device.request("GET", path, headers={"Range": text})
        assert reply.status in (200, 206) and reply.body == part, text


# ---- paths and names ---------------------------------------------------------------------------------------

UP = ["..", "%2e%2e", ".%2e", "%2E.", "..%00", "..;", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "....", "%252e%252e", "..%5c", "..\\"]
SLASH = ["/", "%2f", "%2F", "%5c", "\\", "//", "/./", "%c0%af", "%252f", "%00/"]
TARGETS = ["etc/passwd", "data/ca/device-ca.key", "ca/root.pem", "pagurus.db"]
PREFIX = {"console": ["/", "/api/v1/ca/", "/api/v1/releases/", "/api/v1/products/x/trust-sets/", "/console.js"],
          "device": ["/v1/blob/", "/v1/trust/", "/update/meter/", "/update/"], "legacy": ["/update/", "/update/meter/", "/"]}


@pytest.mark.parametrize("listener", LISTENERS)
def test_h5_no_path_leads_to_a_file(server, device, listener):
    paths = [p + (up + slash) * n + t for p, up, slash, t, n in
             itertools.product(PREFIX[listener][:3], UP, SLASH, TARGETS[:2], (1,))]
    paths += [p + "../" * 12 + t for p in PREFIX[listener] for t in TARGETS]
    paths += ["//" + t for t in TARGETS] + ["/%2e%2e/%2e%2e/" + t for t in TARGETS] + ["/%00", "/%", "/%zz", "/%2", "/a%0d%0ab"]
    assert len(paths) >= 300
    token = b"Authorization: Bearer " + server.token.encode() + b"\r\n" if listener == "console" else b""
    secrets = (b"root:", b"PRIVATE KEY", b"BEGIN CERT", b"SQLite format")

    def batch(some):
        with attacks.connect(server, listener, device if listener == "device" else None) as link:
            for path in some:
                link.sendall(b"GET " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: a\r\n" + token + b"\r\n")
                answer = b""
                while b"\r\n\r\n" not in answer:
                    part = link.recv(65536)
                    assert part, (path, answer)
                    answer += part
                head, _, body = answer.partition(b"\r\n\r\n")
                length = int(re.search(rb"Content-Length: (\d+)", head).group(1))
                while len(body) < length:
                    body += link.recv(65536)
                assert re.match(rb"HTTP/1\.1 (400|403|404|422) ", head), (path, head[:60])
                assert not any(s in body for s in secrets), path
                if b"Connection: close" in head:
                    return some[some.index(path) + 1:]
        return []

    def run(some):
        while some:
            some = batch(some)

    attacks.in_parallel([lambda i=i: run(paths[i::8]) for i in range(8)], 8)


def test_h7_line_ends_in_a_name_do_not_split_an_answer(server, owner, device):
    for text in ("1.0%0d%0aX-Evil:%201", "%0d%0a%0d%0aevil", "a%0aX-Evil:1", "%e5%98%8a%e5%98%8dX-Evil:1"):
        for path in (f"/update/meter/{text}", f"/update/{text}", f"/v1/trust/{text}", f"/v1/blob/{text}"):
            _, _, data = attacks.talk(server, "device", b"GET " + path.encode() + b" HTTP/1.0\r\n\r\n", device)
            assert b"\nX-Evil" not in data and data.count(b"HTTP/1.1 ") == 1, data
        for path in (f"/api/v1/products/{text}", f"/api/v1/devices?q={text}", f"/api/v1/releases/{text}"):
            reply = server.call("GET", path.removeprefix("/api/v1"))
            assert "X-Evil" not in "".join(reply.headers)


# ---- who is asking -----------------------------------------------------------------------------------------


def test_h19_headers_of_a_proxy_are_nothing(server, device):
    pem = open(device.cert_file).read().replace("\n", "%0A")
    claims = {"X-Forwarded-For": "10.9.8.7", "X-Real-IP": "10.9.8.7", "Forwarded": "for=10.9.8.7", "X-SSL-Client-Verify":
              "SUCCESS", "X-SSL-Client-Cert": pem, "Client-Cert": ":AAAA:", "X-Client-Cert": pem,
              "X-Forwarded-Client-Cert": pem, "X-SSL-Client-S-DN": f"CN={device.id}", "X-Remote-User": "admin"}
    assert server.device_request("GET", "/v1/trust/1", headers=claims).status == 401
    assert server.console_request("GET", "/api/v1/status", headers=claims).status == 401
    assert server.console_request("GET", "/healthz", headers=claims).status == 200
    assert server.call("GET", "/status", headers={"X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/tokens"}).status == 200
    assert "10.9.8.7" not in server.log.read_text()


def test_h24_numbers_are_for_who_has_a_token(server, device):
    for path in ("/metrics", "/api/v1/metrics", "/api/v1/status", "/api/v1/events"):
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic " + "QQ=="},
                        {"Cookie": "token=" + server.token}, {"X-Api-Key": server.token}):
            assert server.console_request("GET", path, headers=headers).status == 401
        assert server.console_request("GET", path + "?token=" + server.token).status == 401
        assert server.console_request("GET", path + "?access_token=" + server.token).status == 401
    for path in ("/metrics", "/status", "/api/v1/status", "/healthz", "/readyz", "/debug", "/server-status"):
        assert device.request("GET", path).status == 404
        assert server.plain_request("GET", path).status == 404


def test_h20_nothing_confidential_may_be_cached(server, owner):
    image = open("/bin/true", "rb").read() + b"cache"
    release = owner.publish("0.9.2", image)
    device = entitled(server, "84f3eb0b0004")
    digest = hashlib.sha256(image).hexdigest()
    replies = [server.call("GET", p) for p in ("/whoami", "/status", "/events", "/products", "/releases", "/devices", "/ca",
                                                "/keys", "/tokens", "/enrollment/codes", f"/devices/{device.id}",
                                                f"/releases/{release['id']}/images/firmware", "/nothing", "/certificates")]
    replies += [device.request("GET", "/v1/blob/" + digest), server.console_request("GET", "/metrics", headers={
        "Authorization": "Bearer " + server.token}),
        server.call("POST", "/enrollment/codes", {"product": "meter", "uses": 1}),
        device.request("POST", "/v1/check", check_body(k12=bytes(16)), attacks.CBOR)]
    for reply in replies:
        assert reply.header("Cache-Control") == "no-store", (reply.status, reply.headers, reply.body[:80])


# ---- what the log says -------------------------------------------------------------------------------------


def test_h25_s6_no_secret_is_in_a_log_a_database_or_a_list(make_server):
    from cryptography.hazmat.primitives import serialization
    server = make_server("mqtt.mode=off", "server.log_level=debug", "legacy.enabled=yes").start()
    owner = signing.Publisher(server, "meter", legacy_auth="token", plain_http=True)
    token = server.rest("POST", "/tokens", {"name": "canary", "role": "viewer", "ttl_s": 600})["token"]
    code = server.rest("POST", "/enrollment/codes", {"product": "meter", "uses": 3})["code"]
    csr, key = attacks.certificate_request("84f3eb0b00c0")
    private = signing.Key().private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                  serialization.NoEncryption()).decode()
    server.device_request("POST", "/v1/enroll", cborish.dumps(attacks.enrol_request(code, csr, "84f3eb0b00c0")), attacks.CBOR)
    server.device_request("POST", "/v1/enroll", cborish.dumps(attacks.enrol_request(code, csr, "no mac")), attacks.CBOR)
    server.device_request("POST", "/v1/enroll", cborish.dumps(attacks.enrol_request(code, b"x", "84f3eb0b00c0")), attacks.CBOR)
    server.device_request("POST", "/v1/enroll", code.encode(), attacks.CBOR)
    for words in ("/status", "/nothing", f"/devices?q={token}", f"/devices/{token}", f"/{token}", f"/devices/{code}"):
        server.call("GET", words, token=token)
    server.call("GET", "/status", token=token + "x")
    server.call("GET", "/status", token=token[:-1])
    basic = {"Authorization": "Basic " + base64.b64encode(b"u:" + token.encode()).decode(), "x-ESP8266-mode": "sketch",
             "x-ESP8266-STA-MAC": "84:F3:EB:0B:00:C1"}
    server.plain_request("GET", "/update/meter", headers=basic)
    server.call("POST", "/keys", {"name": "k", "use": "release", "pem": private})
    server.call("POST", "/keys", {"name": private, "use": "release", "pem": "x"})
    server.call("POST", "/keys", private.encode(), {"Content-Type": "application/json"})
    server.call("POST", "/ca/issue", {"device_id": "a", "product": "meter", "csr": private})
    draft = server.rest("POST", "/releases", {"product": "meter", "version": "1.0.0"})
    server.upload(draft["id"], private.encode())
    owner.publish("1.0.1", open("/bin/true", "rb").read())
    shown = "".join(server.call("GET", p).body.decode() for p in ("/events?limit=1000", "/tokens", "/enrollment/codes", "/keys",
                                                                   "/status", "/devices"))
    server.stop()
    stored = b"".join(p.read_bytes() for p in server.data.rglob("*") if p.is_file() and p.suffix not in (".key", ".pem"))
    log = server.log.read_text()
    body = "".join(private.splitlines()[1:-1])
    for name, secret in (("token", token.split("_")[2]), ("admin token", server.token.split("_")[2]),
                         ("claim", code), ("claim without dashes", code.replace("-", "")), ("key", body[20:60]),
                         ("basic", basic["Authorization"][6:])):
        assert secret not in log, name
        assert secret not in shown, name
        assert secret.encode() not in stored, name
    assert "BEGIN PRIVATE KEY" not in log and b"BEGIN PRIVATE KEY" not in stored
    assert len(log.splitlines()) > 5


def test_h24_a_default_install_opens_what_its_settings_say_and_nothing_else(make_server):
    server = make_server().start()
    server.wait_ready()
    assert attacks.listening(server.process.pid) == {("127.0.0.1", server.ports[n]) for n in ("console", "device", "mqtt")}
    assert all(p.stat().st_mode & 0o077 == 0 for p in server.data.rglob("*.key"))
    assert all(p.stat().st_mode & 0o077 == 0 for p in server.data.glob("pagurus.db*"))
    server.stop()
