"""Named files for esp_https_ota and everything else that asks for a file: docs/spec/legacy-http.md 4 and 5."""

import base64
import hashlib
import http.client
import subprocess

import pytest

import legacy

V1 = legacy.esp32(version="1.0.0", filler=120000)
V2 = legacy.esp32(version="2.0.0", filler=120000)
MIN = legacy.esp32(version="1.0.0", filler=4000)


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "legacy.enabled=true", "limits.device_requests=0").start()


@pytest.fixture(scope="module")
def shelf(server):
    one = legacy.Shelf(server, "lamp", "esp32", ("lamp-r1",), plain_http=True)
    one.publish("1.0.0", firmware=(V1, {"file": "lamp_v1.bin"}), safeboot=MIN, filesystem=b"fs" * 4096)
    one.mount("/ota/lamp.bin", "files")
    one.mount("/fresh", "files", not_modified=True)
    one.mount("/loose", "files", plain_names=True)
    return one


_next = iter(range(1, 10000))


def mac():
    return f"24a160{next(_next):06x}"


def get(server, path, *headers, **other):
    return legacy.get(server, path, [*legacy.IDF, *headers], **other)


# ---- names ----

@pytest.mark.parametrize("path, body", [
    ("/files/lamp/firmware.bin", V1), ("/files/lamp/lamp_v1.bin", V1), ("/files/lamp/a/b/firmware.bin", V1),
    ("/files/lamp/lamp-safeboot.bin", MIN), ("/files/lamp/safeboot.bin", MIN), ("/files/lamp/filesystem.bin", b"fs" * 4096),
    ("/ota/lamp.bin", V1), ("/loose/whatever.bin", V1), ("/files/lamp/firmware%2Ebin", V1), ("/loose/x-safeboot.bin", MIN),
    ("/files/lamp/firmware.bin?x=1&y", V1),
])
def test_a_name_finds_its_image(server, shelf, path, body):
    got = get(server, path)
    assert (got.status, got.body, got.rest) == (200, body, b"")
    assert got.header("content-length") == str(len(body)) and got.header("x-md5") == hashlib.md5(body).hexdigest()
    assert got.header("transfer-encoding") is None and got.header("location") is None


@pytest.mark.parametrize("path", [
    "/files/lamp/firmware.bin.gz", "/files/lamp/other.bin", "/files/lamp/firmware", "/files/lamp/", "/files/lamp/favicon.ico",
    "/files/lamp/config.json", "/files/lamp/24a160000001.key", "/files/lamp/24a160000001.crt", "/files/lamp/ca.pem",
    "/files/lamp/minimal.bin", "/files/lamp/x-minimal.bin", "/files/lamp/../../etc/passwd", "/files/lamp/%2e%2e/firmware.bin.key",
    "/files/lamp/.hidden", "/files/lamp/a%2Fb.bin", "/files/lamp/" + "a" * 70 + ".bin", "/files/lamp/" + "a/" * 9 + "firmware.bin",
    "/files/nothing/firmware.bin", "/ota/lamp.bin.gz", "/ota/lamp.bin.sh", "/loose/x-minimal.bin", "/loose/firmware.txt",
    "/files/lamp/firmware.bin%00",
])
@pytest.mark.parametrize("port", ["device", "legacy"])
def test_what_is_not_there_is_404_at_once(server, shelf, path, port):
    got = get(server, path, port=port)
    assert got.status in (404, 400) and got.body == b""


def test_nobody_in_particular_needs_the_owners_word(server):
    one = legacy.Shelf(server, "shut", "esp32", ("lamp-r1",), legacy_auth="certificate")
    one.publish("1.0.0", firmware=V1)
    assert get(server, "/files/shut/firmware.bin").status == 401
    assert get(server, "/files/shut/manifest.json").status == 401
    assert get(server, "/files/shut/firmware.bin.md5").status == 401
    assert get(server, "/files/shut/firmware.bin", ("Authorization", "Basic eDp5")).status == 401
    device = server.enroll("shut", mac(), chip=2, hardware=b"lamp-r1")
    assert get(server, "/files/shut/firmware.bin", device=device).body == V1


def test_a_401_says_how_to_prove_it(server, shelf):
    # esp_http_client and wget send the user of an address only after they were asked for it.
    legacy.Shelf(server, "asks", "esp32", ("lamp-r1",), legacy_auth="token", plain_http=True).publish("1.0.0", firmware=V1)
    for path in ("/files/asks/firmware.bin", "/files/asks/manifest.json", "/files/asks/firmware.bin.md5", "/tag/asks?tag=1"):
        for port in ("device", "legacy"):
            got = get(server, path, port=port)
            assert (got.status, got.body, got.rest) == (401, b"", b"")
            assert got.header("www-authenticate").startswith('Basic realm="'), (path, port)
    token = server.rest("POST", "/tokens", {"name": "asks", "role": "viewer", "product": "asks", "ttl_s": 3600})["token"]
    url = f"http://x:{token}@127.0.0.1:{server.ports['legacy']}/files/asks/firmware.bin"
    done = subprocess.run(["wget", "-q", "-O", "-", "--tries=1", "--no-proxy", url], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, V1)


def test_the_user_may_be_said_on_the_connection_that_was_refused(server, shelf):
    # esp_https_ota has no other: it writes the second request where it read the 401.
    legacy.Shelf(server, "same", "esp32", ("lamp-r1",), legacy_auth="token", plain_http=True).publish("1.0.0", firmware=V1)
    token = server.rest("POST", "/tokens", {"name": "same", "role": "viewer", "product": "same", "ttl_s": 3600})["token"]
    said = base64.b64encode(f"x:{token}".encode()).decode()
    wrong = base64.b64encode(b"x:y").decode()
    for user, status, body in ((said, 200, V1), (wrong, 401, b"")):
        link = http.client.HTTPConnection("127.0.0.1", server.ports["legacy"], timeout=20)
        link.request("GET", "/files/same/firmware.bin", headers=dict(legacy.IDF))
        first = link.getresponse()
        assert (first.status, first.read(), first.will_close) == (401, b"", False)
        port = link.sock.getsockname()
        link.request("GET", "/files/same/firmware.bin", headers=dict(legacy.IDF) | {"Authorization": "Basic " + user})
        assert link.sock.getsockname() == port, "the same connection"
        second = link.getresponse()
        assert (second.status, second.read(), second.will_close) == (status, body, True)
        link.close()
    old = get(server, "/files/same/firmware.bin", port="legacy", version="1.0")
    assert (old.status, old.header("connection")) == (401, "close")


def test_a_certificate_for_one_product_opens_no_other(server, shelf):
    legacy.Shelf(server, "neighbour", "esp32", ("lamp-r1",))
    device = server.enroll("neighbour", mac(), chip=2, hardware=b"lamp-r1")
    assert get(server, "/files/lamp/firmware.bin", device=device).status == 404


# ---- ranges ----

SIZE = len(V1)


@pytest.mark.parametrize("given, status, first, last", [
    ("bytes=0-65535", 206, 0, 65535), ("bytes=65536-", 206, 65536, SIZE - 1), (f"bytes=0-{SIZE}", 206, 0, SIZE - 1),
    (f"bytes={SIZE - 1}-", 206, SIZE - 1, SIZE - 1), ("bytes=0-0", 206, 0, 0), (f"bytes={SIZE}-", 416, 0, 0),
    (f"bytes=0-{SIZE * 9}", 206, 0, SIZE - 1),
])
def test_a_range_is_honoured_and_its_end_clamped(server, shelf, given, status, first, last):
    got = get(server, "/files/lamp/firmware.bin", ("Range", given))
    assert got.status == status
    if status == 206:
        assert got.body == V1[first:last + 1] and got.header("content-range") == f"bytes {first}-{last}/{SIZE}"
    else:
        assert got.header("content-range") == f"bytes */{SIZE}"


def test_a_range_is_ignored_in_http_1_0(server, shelf):
    got = get(server, "/files/lamp/firmware.bin", ("Range", "bytes=5-9"), version="1.0")
    assert (got.status, got.body) == (200, V1)


def test_head_is_get_without_the_body(server, shelf):
    head = get(server, "/files/lamp/firmware.bin", method="HEAD")
    full = get(server, "/files/lamp/firmware.bin")
    keep = ("content-length", "content-type", "x-md5", "etag", "accept-ranges")
    assert head.status == 200 and head.rest == b""
    assert [head.header(n) for n in keep] == [full.header(n) for n in keep]


def test_a_partial_download_ends_with_the_whole_and_counts_once(server, shelf):
    device = server.enroll("lamp", mac(), chip=2, hardware=b"lamp-r1")
    got = b""
    assert get(server, "/files/lamp/firmware.bin", method="HEAD", device=device).header("content-length") == str(SIZE)
    while len(got) < SIZE:
        end = f"{min(len(got) + 65535, SIZE)}" if len(got) + 65536 < SIZE else ""
        piece = get(server, "/files/lamp/firmware.bin", ("Range", f"bytes={len(got)}-{end}"), device=device)
        assert piece.status == 206
        got += piece.body
    assert got == V1
    server.until(lambda: legacy.state_of(server, device.id)["action"]["state"] == "installing")


def test_a_release_in_between_changes_nothing_for_who_has_begun(server):
    one = legacy.Shelf(server, "piece", "esp32", ("lamp-r1",))
    one.publish("1.0.0", firmware=V1)
    device = server.enroll("piece", mac(), chip=2, hardware=b"lamp-r1")
    name = "/files/piece/firmware.bin"
    first = get(server, name, ("Range", "bytes=0-65535"), device=device)
    nobody = get(server, name, ("Range", "bytes=0-65535"))
    two = one.publish("2.0.0", firmware=V2)
    assert get(server, name, ("Range", "bytes=65536-"), device=device).body == V1[65536:]
    assert get(server, name, ("Range", "bytes=65536-")).body == V1[65536:] and nobody.body == first.body
    assert get(server, name, device=device).body == V2, "a new download is of the new one"
    assert server.rest("POST", f"/releases/{two['id']}:withdraw") is not None
    assert get(server, name, ("Range", "bytes=65536-"), device=device).body != V2[65536:], "withdrawn: not a byte more"


# ---- what it says about itself ----

def test_who_reads_the_header_and_goes_has_not_failed(server, shelf):
    device = server.enroll("lamp", mac(), chip=2, hardware=b"lamp-r1")
    for _ in range(5):
        with legacy.connect(server, device) as link:
            link.sendall(b"GET /files/lamp/firmware.bin HTTP/1.1\r\nHost: x\r\nUser-Agent: ESP32 HTTP Client/1.0\r\n\r\n")
            assert len(link.recv(1024)) > 0
    shown = legacy.state_of(server, device.id)
    assert shown["state"] == "update_offered" and shown["action"]["state"] == "offered" and shown["blocked"] == []
    assert get(server, "/files/lamp/firmware.bin", device=device).status == 200


def test_a_device_that_does_not_say_what_it_runs_is_not_called_failed_when_it_asks_again(server, shelf):
    device = server.enroll("lamp", mac(), chip=2, hardware=b"lamp-r1")
    assert get(server, "/files/lamp/firmware.bin", device=device).body == V1
    server.until(lambda: legacy.state_of(server, device.id)["action"]["state"] == "installing")
    assert get(server, "/files/lamp/firmware.bin", method="HEAD", device=device).status == 200
    assert get(server, "/files/lamp/firmware.bin", ("Range", "bytes=0-99"), device=device).status == 206
    assert legacy.state_of(server, device.id)["action"]["state"] == "installing"


def test_who_fetches_it_whole_again_and_again_is_stopped_and_shown(server, shelf):
    device = server.enroll("lamp", mac(), chip=2, hardware=b"lamp-r1")
    for _ in range(3):
        assert get(server, "/files/lamp/firmware.bin", device=device).status == 200
        server.until(lambda: legacy.state_of(server, device.id)["action"]["state"] == "installing")
    server.until(lambda: get(server, "/files/lamp/firmware.bin", device=device).status == 403)
    shown = legacy.state_of(server, device.id)
    assert shown["state"] == "blocked" and "not offered again" in shown["why"]
    assert server.call("POST", f"/devices/{device.id}:retry", {}).status == 200
    assert get(server, "/files/lamp/firmware.bin", device=device).status == 200


def test_304_only_where_the_owner_says_it_is_understood(server, shelf):
    device = server.enroll("lamp", mac(), chip=2, hardware=b"lamp-r1")
    assert get(server, "/files/lamp/firmware.bin?tag=1.0.0", device=device).status == 200
    assert get(server, "/fresh/firmware.bin?tag=1.0.0", device=device).status == 304
    assert get(server, "/fresh/firmware.bin?tag=0.9", device=device).status == 200
    assert get(server, "/ota/lamp.bin?tag=1.0.0", device=device).body == V1
    assert legacy.state_of(server, device.id)["state"] == "up_to_date"


@pytest.mark.parametrize("how", ["{0}", "{1}/firmware.bin", "firmware.bin?mac={1}", "firmware.bin?id={0}"])
def test_a_mac_in_the_address_names_the_device(server, shelf, how):
    one = mac()
    colons = ":".join(one[i:i + 2] for i in range(0, 12, 2)).upper()
    path = how.format(one, colons)
    got = get(server, "/files/lamp/" + (path if "firmware" in path else path + "/firmware.bin"))
    assert got.status == 200
    assert legacy.state_of(server, one)["product"] == "lamp"


def test_an_aborted_download_at_every_kilobyte_costs_nothing(server, shelf):
    device = server.enroll("lamp", mac(), chip=2, hardware=b"lamp-r1")
    for cut in range(0, SIZE, 1024):
        with legacy.connect(server, device) as link:
            link.sendall(b"GET /files/lamp/firmware.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            left = cut
            while left > 0:
                piece = link.recv(min(left, 1024))
                assert piece
                left -= len(piece)
    assert get(server, "/files/lamp/firmware.bin", device=device).body == V1
    assert legacy.state_of(server, device.id)["blocked"] == []
