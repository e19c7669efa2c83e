"""Programs and libraries that people have, as clients: what each fetches is the image, and what each may not it does not."""

import hashlib
import http.client
import re
import subprocess
import sys

import pytest

from bench import make_server, run  # noqa: F401

import esp8266
import est
import legacy
from test_tls_libraries import ROWS, clients  # noqa: F401

client = pytest.mark.client
IMAGE = esp8266.arduino("plug", "1.0.0", filler=500000)
CAM = legacy.esp32(version="1.0.0", filler=60000)
FILE = "/files/plug/firmware.bin"
ESPTOOL = [sys.executable, "-m", "esptool"]


@pytest.fixture(scope="module")
def server(make_server):  # noqa: F811
    one = make_server("legacy.enabled=true", "limits.device_requests=0").start()
    one.wait_ready()
    shelf = legacy.Shelf(one, "plug", plain_http=True, legacy_auth="certificate", max_serves=100)
    shelf.publish("1.0.0", firmware=IMAGE)
    shelf.mount("/open", "files", auth="none", not_modified=True)
    shelf.mount("/esp/firmware.php", "tag-emonesp", auth="none")
    cam = legacy.Shelf(one, "cam", "esp32", ("esp32cam",), plain_http=True)
    cam.publish("1.0.0", firmware=CAM)
    return one


@pytest.fixture(scope="module")
def device(server):
    return server.enroll("plug", "5ccf7f200001", chip=1, hardware=b"d1mini")


@pytest.fixture(scope="module")
def revoked(server):
    one = server.enroll("plug", "5ccf7f200002", chip=1, hardware=b"d1mini")
    server.rest("POST", f"/devices/{one.id}:revoke", {"reason": "lost"})
    return one


@pytest.fixture(scope="module")
def foreign(server, make_server):  # noqa: F811
    """A device of another installation."""
    other = make_server("mqtt.mode=off").start()
    other.product("plug", "esp8266", ("d1mini",))
    return other.enroll("plug", "5ccf7f200003", chip=1, hardware=b"d1mini")


def root(server):
    return server.data / "ca" / "root.pem"


def url(server, path, port="device"):
    return f"{'https' if port == 'device' else 'http'}://localhost:{server.ports[port]}{path}"


# ---- curl ------------------------------------------------------------------------------------------------


def curl(server, *more, device=None, want=0):
    who = ["--cert", device.cert_file, "--key", device.key_file] if device else []
    return run("curl", "-sS", "--cacert", root(server), *who, *more, want=want, text=False)


@client("curl", "7.88", "the image, with a client certificate, in every version of HTTP and TLS")
@pytest.mark.parametrize("more", [["--http1.0"], ["--http1.1"], ["--tls-max", "1.2"], ["--tlsv1.3"], ["--http2"], ["--compressed"]])
def test_curl_fetches_the_image(server, device, more):
    done = curl(server, "-f", *more, "-D", "/dev/stderr", url(server, FILE), device=device)
    assert done.stdout == IMAGE
    assert f"x-md5: {hashlib.md5(IMAGE).hexdigest()}" in done.stderr.decode().lower()


@client("curl", "7.88", "goes on where it broke off")
def test_curl_resumes(server, device, tmp_path):
    part = tmp_path / "firmware.bin"
    part.write_bytes(IMAGE[:123456])
    curl(server, "-f", "-C", "-", "-o", part, url(server, FILE), device=device)
    assert part.read_bytes() == IMAGE


@client("curl", "7.88", "304 to the ETag that it has")
def test_curl_compares_its_etag(server, tmp_path):
    etag, out = tmp_path / "etag", tmp_path / "out"
    words = ["--etag-save", etag, "--etag-compare", etag, "-o", out, "-w", "%{http_code}", url(server, "/open/firmware.bin", "legacy")]
    assert curl(server, *words).stdout == b"200" and out.read_bytes() == IMAGE
    assert curl(server, *words).stdout == b"304"


@client("curl", "7.88", "HEAD")
def test_curl_asks_for_the_head_alone(server, device):
    head = curl(server, "-f", "-I", url(server, FILE), device=device).stdout.decode().lower()
    assert f"content-length: {len(IMAGE)}" in head and "transfer-encoding" not in head


@client("curl", "7.88", "no, a foreign and a revoked certificate")
def test_curl_gets_nothing_without_a_good_certificate(server, foreign, revoked):
    words = ["-w", "%{http_code}", url(server, FILE)]
    assert curl(server, *words).stdout == b"401"
    assert curl(server, "-f", *words, device=foreign, want=None).returncode in (35, 52, 55, 56)
    done = curl(server, *words, device=revoked, want=None)
    assert done.returncode in (35, 52, 55, 56) or done.stdout in (b"401", b"403")


@client("curl", "7.88", "a version text and an image by tag")
def test_curl_is_a_person_who_asks_for_the_version(server):
    php = url(server, "/esp/firmware.php", "legacy")
    assert curl(server, "-f", php).stdout == b"1.0.0"
    assert curl(server, "-f", php + "?tag=0.9.0").stdout == IMAGE
    assert curl(server, "-o", "/dev/null", "-w", "%{http_code}", php + "?tag=1.0.0").stdout == b"304"


# ---- wget ------------------------------------------------------------------------------------------------


@client("wget", "1.21", "the image, with a client certificate")
def test_wget_fetches_the_image_and_resumes(server, device, tmp_path):
    out = tmp_path / "firmware.bin"
    words = ["wget", "-nv", "--ca-certificate", root(server), "--certificate", device.cert_file, "--private-key", device.key_file]
    run(*words, "-O", out, url(server, FILE))
    assert out.read_bytes() == IMAGE
    out.write_bytes(IMAGE[:70001])
    run(*words, "-c", url(server, FILE), cwd=tmp_path)
    assert out.read_bytes() == IMAGE


@client("wget", "1.21", "without a certificate, and what is not there")
def test_wget_is_told_no(server, device):
    words = ["wget", "-nv", "-O", "-", "--ca-certificate", root(server)]
    assert "Authentication Failed" in run(*words, url(server, FILE), want=6).stderr
    assert "404" in run(*words, "--certificate", device.cert_file, "--private-key", device.key_file,
                        url(server, "/files/plug/none.bin"), want=8).stderr


@client("wget", "1.21", "plain HTTP, with the headers of a device")
def test_wget_with_the_headers_of_a_device(server, tmp_path):
    out = tmp_path / "out"
    mac = "--header=x-ESP8266-STA-MAC: 5C:CF:7F:20:00:21"
    words = ["wget", "-nv", "-O", out, "-U", "ESP8266-http-Update", mac, "--header=x-ESP8266-mode: sketch",
             "--header=x-ESP8266-free-space: 1048576", "--header=x-ESP8266-chip-size: 4194304"]
    run(*words, url(server, "/esp/firmware.php?tag=0.9.0", "legacy"))
    assert out.read_bytes() == IMAGE
    assert "304" in run(*words, url(server, "/esp/firmware.php?tag=1.0.0", "legacy"), want=8).stderr


# ---- openssl s_client ------------------------------------------------------------------------------------

GCM, HEADER = 24, 5     # nonce and tag of a TLS 1.2 record with AES-GCM; the record's own head


def records(said):
    """(type, length) of each record that came, as -msg shows it."""
    found = re.findall(rb"^<<< [^\n]*RecordHeader \[length 0005\]\n\s+([0-9a-f ]{14})", said, re.M)
    return [(int(f.split()[0], 16), int(b"".join(f.split()[3:]), 16)) for f in found]


def s_client(server, device, *more, name=("-servername", "localhost")):
    """One GET in HTTP/1.0 with the device's certificate; what came is on standard output."""
    return run("openssl", "s_client", "-connect", f"localhost:{server.ports['device']}", *name, "-CAfile", root(server),
               "-verify_return_error", "-cert", device.cert_file, "-key", device.key_file, "-ign_eof", "-quiet", *more, text=False,
               stdin=f"GET {FILE} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"])
@pytest.mark.parametrize("size", [pytest.param(n, marks=client("openssl s_client", "3.0", f"half a megabyte in records of {n} bytes"))
                                  for n in (512, 1024)])
def test_no_record_is_longer_than_was_asked_for(server, device, size, cipher, tmp_path):
    trace = tmp_path / "trace"
    done = s_client(server, device, "-tls1_2", "-cipher", cipher, "-maxfraglen", size, "-msg", "-msgfile", trace)
    assert done.stdout.endswith(b"\r\n\r\n" + IMAGE)
    seen = records(trace.read_bytes())
    change = next(i for i, (kind, _) in enumerate(seen) if kind == 20)
    assert [kind for kind, _ in seen[:change]].count(22) > 2, "the chain does not fit into one record"
    assert max(n for _, n in seen[:change]) <= size
    assert max(n for _, n in seen) <= size + GCM
    assert sum(n for kind, n in seen if kind == 23) > len(IMAGE)


@client("openssl s_client", "3.0", "TLS 1.2 alone, with what an ESP8266 offers")
@pytest.mark.parametrize("more", [
    ["-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305", "-curves", "X25519:P-256"], ["-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "-curves", "P-256"],
    ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "-sigalgs", "ECDSA+SHA256:RSA+SHA256"], ["-noservername"], ["-no_ticket"],
])
def test_a_profile_of_tls_1_2(server, device, more):
    done = s_client(server, device, "-tls1_2", *more, name=[] if "-noservername" in more else ["-servername", "localhost"])
    assert done.stdout.endswith(b"\r\n\r\n" + IMAGE)


@client("openssl s_client", "3.0", "a probe: ServerHello alone in its record, nothing else said")
def test_the_server_hello_is_alone_in_its_record(server, device, tmp_path):
    trace = tmp_path / "trace"
    s_client(server, device, "-tls1_2", "-maxfraglen", 512, "-msg", "-msgfile", trace)
    text = trace.read_bytes()
    first = records(text)[0]
    hello = re.search(rb"Handshake \[length ([0-9a-f]{4})\], ServerHello", text)
    assert first == (22, int(hello[1], 16))


@client("openssl s_client", "3.0", "TLS 1.1 and suites without forward secrecy are refused")
@pytest.mark.parametrize("more", [["-tls1_1"], ["-tls1_2", "-cipher", "AES128-SHA256"], ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"]])
def test_what_is_weak_is_refused(server, more):
    done = run("openssl", "s_client", "-connect", f"localhost:{server.ports['device']}", *more, want=1)
    assert "handshake failure" in done.stderr or "protocol version" in done.stderr or "alert" in done.stderr or "no protocols" in done.stderr


# ---- Python's http.client in HTTP/1.0 --------------------------------------------------------------------


def ask_1_0(server, path, headers, tls=None):
    """An answer of HTTP/1.0 as the library reads it: with the length said, and to the end of the connection."""
    if tls:
        link = http.client.HTTPSConnection("localhost", server.ports["device"], timeout=20, context=server.tls(tls))
    else:
        link = http.client.HTTPConnection("localhost", server.ports["legacy"], timeout=20)
    link._http_vsn, link._http_vsn_str = 10, "HTTP/1.0"
    try:
        link.request("GET", path, headers=headers)
        got = link.getresponse()
        body = got.read()
        return got, body, link.sock is None or not link.sock.recv(1)
    finally:
        link.close()


@client("Python http.client", "1.0", "the image with its length, then the end")
@pytest.mark.parametrize("keep", ["close", "keep-alive", None])
def test_http_1_0_is_answered_with_a_length_and_an_end(server, device, keep):
    for path, who in ((FILE, device), ("/open/firmware.bin", None)):
        got, body, ended = ask_1_0(server, path, {"Connection": keep} if keep else {}, who)
        assert (got.status, got.getheader("Content-Length"), got.chunked) == (200, str(len(IMAGE)), False)
        assert body == IMAGE and ended


@client("Python http.client", "1.0", "304 has no body, then the end")
def test_http_1_0_has_a_304(server):
    got, body, ended = ask_1_0(server, "/esp/firmware.php?tag=1.0.0", {"User-Agent": "ESP8266-http-Update"})
    assert (got.status, body, ended, got.getheader("Transfer-Encoding")) == (304, b"", True, None)


@client("Python http.client", "1.0", "ranges are not of HTTP/1.0")
def test_http_1_0_knows_no_range(server):
    got, body, _ = ask_1_0(server, "/open/firmware.bin", {"Range": "bytes=0-99"})
    assert got.status == 200 and body == IMAGE


# ---- mosquitto_pub and mosquitto_sub ---------------------------------------------------------------------


def mqtt_words(server, who):
    tls = ["--cert", who.cert_file, "--key", who.key_file] if who else []
    return ["-h", "localhost", "-p", str(server.ports["mqtt"]), "--cafile", str(root(server)), "-i", who.id if who else "nobody", *tls]


NUMBERS = iter(range(1, 100))


@pytest.fixture
def people(server, foreign, revoked):
    one = server.enroll("plug", f"5ccf7f21{next(NUMBERS):04x}", chip=1, hardware=b"d1mini")
    return {"a good certificate": one, "a foreign certificate": foreign, "a revoked certificate": revoked, "no certificate": None}


WHO = ["a good certificate", "a foreign certificate", "a revoked certificate", "no certificate"]


@pytest.mark.parametrize("who", [pytest.param(w, marks=client("mosquitto_pub", "2.0", w)) for w in WHO])
def test_mosquitto_pub_is_heard_only_with_a_good_certificate(server, people, who):
    one = people[who]
    good = people["a good certificate"]
    topic = f"pg/v1/d/{good.id}/up/data/{who.split()[1]}"
    done = run("mosquitto_pub", *mqtt_words(server, one), "-q", "1", "-t", topic, "-m", "21.5", want=None, seconds=20)
    if one is good:
        assert done.returncode == 0, done.stderr
        server.until(lambda: [d["payload"] for d in server.rest("GET", f"/devices/{good.id}/data")["data"]] == [21.5])
    else:
        assert done.returncode != 0
        assert server.rest("GET", f"/devices/{good.id}/data")["data"] == []


@pytest.mark.parametrize("who", [pytest.param(w, marks=client("mosquitto_sub", "2.0", w)) for w in WHO])
def test_mosquitto_sub_hears_only_with_a_good_certificate(server, people, who):
    one = people[who]
    words = ["mosquitto_sub", *mqtt_words(server, one), "-q", "1", "-C", "1", "-W", "20", "-t",
             f"pg/v1/d/{one.id if one else '+'}/cmd"]
    if who != "a good certificate":
        done = run(*words, want=None, seconds=30)
        assert done.returncode not in (0, 27) and done.stdout == "", "27 would be: let in, and nothing heard"
        return
    run("mosquitto_pub", *mqtt_words(server, one), "-q", "1", "-t", f"pg/v1/d/{one.id}/up/status", "-m", '{"version":"0.9.0"}')
    server.until(lambda: server.rest("GET", f"/devices/{one.id}")["online"])
    sub = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        server.until(lambda: sub_heard(server, one, sub), 20, 1)
        assert sub.stdout.read() != b""
    finally:
        sub.kill()
        sub.wait()
        sub.stdout.close()


def sub_heard(server, one, sub):
    """It ends with the first message; the server sends one as soon as it is there to hear it."""
    if sub.poll() is None:
        server.rest("POST", f"/devices/{one.id}/commands", {"kind": "identify"})
    return sub.poll() is not None and sub.returncode == 0


# ---- EST -------------------------------------------------------------------------------------------------


@client("EST client", "RFC 7030", "what it gets opens HTTPS and the broker")
def test_a_certificate_by_est_is_good_for_all(server, tmp_path):
    one = est.Client(server, tmp_path, "5ccf7f200031").make_key().make_request()
    claim = server.rest("POST", "/enrollment/codes", {"product": "plug", "ttl_s": 600})["code"]
    one.keep(one.enroll(claim, label="plug"))
    one.cert_file, one.key_file, one.id = str(one.cert), str(one.key), one.mac
    assert curl(server, "-f", url(server, FILE), device=one).stdout == IMAGE
    run("mosquitto_pub", *mqtt_words(server, one), "-q", "1", "-t", f"pg/v1/d/{one.mac}/up/data/t", "-m", "1")
    server.until(lambda: server.rest("GET", f"/devices/{one.mac}/data")["data"])


# ---- esptool ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("product, chip", [
    pytest.param("plug", "esp8266", marks=client("esptool", "5.6", "reads what was served for an ESP8266")),
    pytest.param("cam", "esp32", marks=client("esptool", "5.6", "reads what was served for an ESP32"))])
def test_esptool_reads_what_was_served(server, device, product, chip, tmp_path):
    out = tmp_path / "firmware.bin"
    curl(server, "-f", "-o", out, url(server, f"/files/{product}/firmware.bin"), device=device if product == "plug" else None)
    said = run(*ESPTOOL, "--chip", chip, "image-info", out).stdout
    assert re.search(r"Checksum: 0x\w\w \(valid\)", said) and "Flash size: 4MB" in said
    if chip == "esp32":
        assert "(valid)" in said.split("Validation hash:")[1] and re.search(r"App version: +1\.0\.0", said)


# ---- the TLS libraries of the boards ---------------------------------------------------------------------


@pytest.mark.parametrize("library, option, size", [
    pytest.param(name, option, size, marks=client(*ROWS[name], f"half a megabyte in records of {size} bytes, with its certificate"))
    for name, option, size in (("bearssl", "--buffer", 512), ("bearssl", "--buffer", 1024), ("mbedtls", "--mfl", 4096))])
def test_a_library_of_a_board_fetches_the_image(server, clients, device, library, option, size):  # noqa: F811
    done = run(clients / library, "127.0.0.1", server.ports["device"], "localhost", root(server), device.cert_file, device.key_file,
               option, size, FILE, text=False)
    assert done.stdout.startswith(b"HTTP/1.1 200") and done.stdout.endswith(b"\r\n\r\n" + IMAGE)
