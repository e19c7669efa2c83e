"""Attacks on the REST API; S.. and H.. are rows of docs/spec/security-tests.md."""

import json
import pathlib
import re
import time

import pytest

import attacks
import signing
from attacks import COSE
from test_rest import problem

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRUE = open("/bin/true", "rb").read()
ROLES = ["viewer", "operator", "releaser", "admin"]
LETTER = {"V": "viewer", "O": "operator", "R": "releaser", "A": "admin"}


@pytest.fixture(scope="module")
def owner(server):
    return signing.Publisher(server, "meter")


@pytest.fixture(scope="module")
def tokens(server):
    return {role: server.rest("POST", "/tokens", {"name": role, "role": role, "ttl_s": 3600})["token"] for role in ROLES}


@pytest.fixture(scope="module")
def world(server, owner):
    """One of each thing that a path can name."""
    release = owner.publish("1.0.0", TRUE)
    return {"name": "meter", "id": server.enroll("meter", "84f3eb200001").id, "release": release["id"]}


# ---- role by route, as the tables of rest.md have it -------------------------------------------------------


def table():
    """[(method, path, role or None)] of every call in docs/spec/rest.md."""
    calls = []
    for line in (ROOT / "docs/spec/rest.md").read_text().splitlines():
        cells = [c.strip() for c in line.replace("\\|", "").split("|")]
        if len(cells) < 4 or "`" not in cells[1]:
            continue
        found = re.findall(r"`(?:(GET|POST|PUT|PATCH|DELETE) )?((?:/|…/)[^`\s]*)[^`]*`", cells[1])
        roles = [r.strip() for r in cells[2].split("·")]
        method = base = None
        for i, (verb, path) in enumerate(found):
            method = verb or method
            path = path.split("?")[0]
            path = base + path[1:] if path.startswith("…") else path
            base = path
            role = roles[min(i, len(roles) - 1)]
            assert role in LETTER or role == "–", line
            calls.append((method, path, LETTER.get(role)))
    return calls


CALLS = table()


def filled(path, world):
    device = path.startswith(("/devices",))
    names = {"{name}": world["name"] if path.startswith("/products") else "firmware", "{version}": "77",
             "{id}": world["id"] if device else world["release"] if path.startswith("/releases") else "none_00000000"}
    for key, value in names.items():
        path = path.replace(key, value)
    return path


def test_the_table_is_read_whole():
    assert len(CALLS) >= 45 and len(set(CALLS)) == len(CALLS)
    assert ("POST", "/releases/{id}:publish", "releaser") in CALLS and ("GET", "/healthz", None) in CALLS
    assert ("POST", "/keys", "admin") in CALLS and ("GET", "/products/{name}/trust-sets/{version}", "viewer") in CALLS


# Calls that lack nothing when the body says nothing.
NO_MEMBERS = (":publish", ":withdraw", ":revoke", ":retry", "/dialect", "/password", "/next")


@pytest.mark.parametrize("method, path, least", CALLS)
def test_s7_every_call_with_every_role(server, world, tokens, method, path, least):
    """Bodies are empty objects: allowed calls fail later, by what they lack; none may do anything."""
    for role in [None, "garbage", *ROLES]:
        headers = {} if role is None else {"Authorization": "Bearer " + tokens.get(role, "pgt_garbage")}
        where = filled(path, world)
        where = where if path in ("/healthz", "/readyz", "/metrics") else "/api/v1" + where
        body = None if method in ("GET", "DELETE") else b'{"no-such-member":1}'
        if method != "GET":
            headers["Content-Type"] = "application/cose" if re.search("manifests|permits|trust-sets", path) else "application/json"
        reply = server.console_request(method, where, body, headers)
        if least is None:
            assert reply.status not in (401, 403), (role, reply.status)
        elif role not in ROLES:
            assert reply.status == 401, (role, reply.status)
        elif ROLES.index(role) < ROLES.index(least):
            assert reply.status == 403, (role, reply.status)
        else:
            assert reply.status not in (401, 403, 405, 500, 501), (role, reply.status, reply.body)
            assert method == "GET" or reply.status >= 400 or path.endswith(NO_MEMBERS), reply.body


def test_s7_a_token_of_one_product_sees_nothing_of_another(server, owner, world):
    other = signing.Publisher(server, "secret")
    release = other.publish("1.0.0", TRUE + b"secret")
    device = server.enroll("secret", "84f3eb200002")
    token = server.rest("POST", "/tokens", {"name": "m", "role": "admin", "product": "meter", "ttl_s": 600})["token"]
    assert server.call("GET", f"/devices/{world['id']}", token=token).status == 200
    for method, path, body in [
            ("GET", "/products/secret", None), ("GET", f"/releases/{release['id']}", None), ("GET", f"/devices/{device.id}", None),
            ("GET", f"/devices/{device.id}/history", None), ("GET", f"/devices/{device.id}/data", None),
            ("GET", f"/devices/{device.id}/commands", None), ("GET", f"/releases/{release['id']}/images/firmware", None),
            ("GET", f"/releases/{release['id']}/reach", None), ("GET", "/products/secret/trust-sets", None),
            ("POST", f"/devices/{device.id}:revoke", {}), ("POST", f"/devices/{device.id}/commands", {"kind": "reboot"}),
            ("PATCH", f"/devices/{device.id}", {"name": "x"}), ("POST", f"/releases/{release['id']}:withdraw", {}),
            ("POST", "/enrollment/codes", {"product": "secret", "uses": 1}), ("PATCH", "/products/secret", {"settings": {}}),
            ("POST", "/releases", {"product": "secret", "version": "6.6.6"})]:
        reply = server.call(method, path, body, token=token)
        assert reply.status in (403, 404), (method, path, reply.status, reply.body)
    for path in ("/products", "/releases", "/devices", "/events?limit=1000", "/certificates", "/enrollment/codes", "/keys"):
        reply = server.call("GET", path, token=token)
        assert device.id not in reply.body.decode() and '"secret"' not in reply.body.decode(), path
    assert server.call("POST", "/products", {"name": "own", "chip": "posix", "hardware": ["posix"]}, token=token).status == 403
    assert server.call("POST", "/keys", {"name": "k", "pem": signing.Key().pem, "use": "release"}, token=token).status == 403
    assert server.call("POST", "/tokens", {"name": "w", "role": "viewer", "product": "secret", "ttl_s": 600},
                       token=token).status in (403, 404)
    made = server.call("POST", "/tokens", {"name": "wider", "role": "admin", "ttl_s": 600}, token=token)
    if made.status == 201:  # never wider than its maker
        assert made.json["product"] == "meter"
        assert server.call("GET", f"/devices/{device.id}", token=made.json["token"]).status in (403, 404)
    assert server.rest("GET", f"/devices/{device.id}")["state"] != "revoked"


def test_s7_tokens_end_when_they_end_and_when_they_are_deleted(server):
    made = server.rest("POST", "/tokens", {"name": "gone", "role": "viewer", "ttl_s": 3600})
    link = attacks.connect(server, "console")
    ask = f"GET /api/v1/whoami HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {made['token']}\r\n\r\n".encode()
    link.sendall(ask)
    assert link.recv(4096).startswith(b"HTTP/1.1 200")
    assert server.call("DELETE", "/tokens/" + made["id"]).status == 204
    link.sendall(ask)
    assert link.recv(4096).startswith(b"HTTP/1.1 401")
    link.close()
    for ttl in (0, -1, 1 << 40, "600", 600.5, None, True):
        assert server.call("POST", "/tokens", {"name": "x", "role": "viewer", "ttl_s": ttl}).status in (400, 422), ttl
    for role in ("root", "", "Admin", "admin ", 3, None, ["admin"]):
        assert server.call("POST", "/tokens", {"name": "x", "role": role, "ttl_s": 600}).status == 422, role


def test_s7_an_expired_token_is_refused(make_server):
    import sqlite3
    server = make_server("mqtt.mode=off").start()
    made = server.rest("POST", "/tokens", {"name": "old", "role": "admin", "ttl_s": 600})
    assert server.call("GET", "/whoami", token=made["token"]).status == 200
    server.stop()
    with sqlite3.connect(server.data / "pagurus.db") as db:
        name = next(n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'") if "token" in n)
        assert db.execute(f"UPDATE {name} SET expires_ms = 1000 WHERE name = 'old'").rowcount == 1
    server.start()
    problem(server.call("GET", "/whoami", token=made["token"]), 401, "unauthenticated")
    assert server.call("GET", "/whoami").status == 200
    server.stop()


def test_s7_no_spelling_of_a_wrong_token_passes(server):
    good = server.token
    parts = good.split("_")
    wrong = [good[:-1], good + "a", good.upper(), good.lower() if good.lower() != good else good + "_", " " + good + "x",
             "_".join([parts[0], parts[1], parts[2][::-1], parts[3]]), "_".join([parts[0], "a" * 12, *parts[2:]]), good + "\t" + "x",
             good.replace("_", "-"), "pgt_" + "' OR 1=1 --", "pgt_" + "a" * 5000, "Bearer " + good, good + "," + good]
    for text in wrong:
        assert server.call("GET", "/whoami", headers={"Authorization": "Bearer " + text}).status == 401, text
    for scheme in ("Basic ", "Token ", "", "Bearer", "BearerX "):
        assert server.call("GET", "/whoami", headers={"Authorization": scheme + good}).status == 401, scheme


# ---- hostile text ------------------------------------------------------------------------------------------

HOSTILE = ["'", "\"", "' OR '1'='1", "'; DROP TABLE device; --", "1; SELECT * FROM token", "\\' OR 1=1 --", "%", "_", "%%", "*",
           "' UNION SELECT sha256 FROM access_token --", "x' AND (SELECT COUNT(*) FROM sqlite_master) > 0 --", "\\", "\\0",
           "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg/onload=alert(1)>", "javascript:alert(1)",
           "{{7*7}}", "${7*7}", "$(id)", "`id`", "| id", "; id", "../../etc/passwd", "%s%s%n%p", "\u202egnp.exe", "\u2028", "\ufeff",
           "\u0130", "ﬀ", "👾" * 20, "a" * 5000, "NULL", "true", "-1", "1e309", "0x10", "\x1b[31mred\x1b[0m", "a\r\nX: y", "a\tb"]


def quoted(text):
    from urllib.parse import quote
    return quote(text, safe="")


@pytest.mark.parametrize("text", HOSTILE)
def test_h6_h8_hostile_text_in_every_query_and_path(server, owner, world, text):
    before = server.rest("GET", "/devices?limit=1")["total"]["value"]
    for path in ("/devices?q=", "/devices?product=", "/devices?state=", "/devices?version=", "/devices?cursor=", "/devices?limit=",
                 "/releases?product=", "/releases?state=", "/events?after=", "/events?limit=", "/certificates?device=",
                 f"/devices/{world['id']}/history?limit="):
        reply = server.call("GET", path + quoted(text))
        assert reply.status in (200, 400, 404, 422), (path, reply.status)
        if reply.status == 200 and path in ("/devices?q=", "/devices?version=", "/certificates?device="):
            assert reply.json["items"] == [], path
    for path in ("/devices/", "/products/", "/releases/", "/tokens/", "/enrollment/codes/"):
        reply = server.call("DELETE" if path in ("/tokens/", "/enrollment/codes/") else "GET", path + quoted(text))
        assert reply.status in (400, 404, 414, 422), (path, reply.status)
    assert server.rest("GET", "/devices?limit=1")["total"]["value"] == before


FIELDS = [("POST", "/products", "name", {"chip": "posix", "hardware": ["posix"]}),
          ("POST", "/products", "chip", {"name": "fld", "hardware": ["posix"]}),
          ("POST", "/releases", "version", {"product": "meter"}), ("POST", "/releases", "product", {"version": "9.0.0"}),
          ("POST", "/releases", "channel", {"product": "meter", "version": "9.9.0"}),
          ("PATCH", "/devices/84f3eb200001", "pin", {}), ("POST", "/devices/84f3eb200001/commands", "kind", {}),
          ("POST", "/enrollment/codes", "product", {"uses": 1}), ("POST", "/enrollment/codes", "mac", {"product": "meter"}),
          ("POST", "/tokens", "role", {"name": "x", "ttl_s": 600}), ("POST", "/tokens", "product", {"name": "x", "role": "viewer"}),
          ("POST", "/ca/issue", "device_id", {"product": "meter", "csr": "x"}), ("POST", "/ca/issue", "csr", {"product": "meter",
                                                                                                       "device_id": "x"}),
          ("POST", "/keys", "pem", {"name": "x", "use": "release"}), ("POST", "/keys", "use", {"name": "x", "pem": "x"})]
FREE = [("PATCH", "/devices/84f3eb200001", "name", {}), ("POST", "/devices/84f3eb200001:retry", "reason", {}),
        ("POST", "/tokens", "name", {"role": "viewer", "ttl_s": 60})]


@pytest.mark.parametrize("text", HOSTILE)
def test_h6_h8_hostile_text_in_every_field(server, owner, world, text):
    lines = server.log.read_text().count("\n")
    for method, path, field, rest in FIELDS:
        reply = server.call(method, path, {**rest, field: text})
        lax = field in ("channel", "version", "pin") or field in ("name", "product") and re.fullmatch("[a-z0-9-]+", text)
        allowed = (400, 404, 409, 422) if not lax else (200, 201, 400, 404, 409, 422)
        assert reply.status in allowed, (path, field, reply.status, reply.body)
    for method, path, field, rest in FREE:
        reply = server.call(method, path, {**rest, field: text})
        assert reply.status in (200, 201, 422), (path, reply.status)
        assert reply.header("Content-Type") in ("application/json", "application/problem+json")
        assert reply.header("X-Content-Type-Options") == "nosniff"
        if reply.status < 300 and field == "name":
            shown = json.loads(reply.body)["name"]
            assert shown == text or any(c < " " for c in text), shown
    log = server.log.read_text()
    assert "\x1b" not in log and "\nX: y" not in log
    assert log.count("\n") - lines <= 40


def test_h6_a_wildcard_in_a_search_is_a_letter(server, world):
    for text in ("%", "_", "84f3eb20000_", "84%", "*", "8*", "[8]"):
        assert server.rest("GET", "/devices?q=" + quoted(text))["items"] == [], text
    assert len(server.rest("GET", "/devices?q=84f3eb200001")["items"]) == 1


# ---- members and types -------------------------------------------------------------------------------------


def test_s10_members_that_a_call_does_not_have_are_422(server, world):
    extra = ["id", "role", "product_id", "actor", "state", "revoked_at", "__proto__", "constructor", "certificate", "sequence",
             "created_at", "trust_version", "Name", "name ", ""]
    bodies = [("POST", "/products", {"name": "mass", "chip": "posix", "hardware": ["posix"]}), ("PATCH", "/products/meter", {}),
              ("POST", "/releases", {"product": "meter", "version": "8.0.0"}), ("PATCH", f"/devices/{world['id']}", {}),
              ("POST", f"/devices/{world['id']}/commands", {"kind": "check"}),
              ("POST", "/enrollment/codes", {"product": "meter", "uses": 1}),
              ("POST", "/keys", {"name": "k", "pem": signing.Key().pem, "use": "release"}),
              ("POST", "/tokens", {"name": "t", "role": "viewer", "ttl_s": 60})]
    for method, path, body in bodies:
        for member in extra:
            if member in body or (path == "/tokens" and member == "role"):
                continue
            reply = server.call(method, path, {**body, member: "admin"})
            assert reply.status == 422, (path, member, reply.body)
            assert "unknown-field" in [e["code"] for e in reply.json["errors"]], (path, member)
    assert server.call("GET", "/products/mass").status == 404
    assert server.call("PATCH", "/products/meter", {"settings": {"admin": True}}).status == 422


@pytest.mark.parametrize("value", [None, True, 7, 1.5, -1, [], {}, [[]], 2 ** 63, 10 ** 400, "x" * 100000])
def test_h15_other_types_are_422_or_400(server, world, value):
    for method, path, field, rest in FIELDS + [("POST", "/enrollment/codes", "uses", {"product": "meter"}),
                                               ("POST", "/products", "hardware", {"name": "typ", "chip": "posix"}),
                                               ("PATCH", f"/devices/{world['id']}", "tags", {})]:
        if (field, value) in [("uses", 7), ("pin", None), ("mac", None), ("product", None), ("tags", [])]:
            continue
        reply = server.call(method, path, {**rest, field: value})
        assert reply.status in (400, 404, 413, 422) or (field == "channel" and value is None), (path, field, reply.status)


JSON_BAD = [b"", b" ", b"null", b"[]", b"1", b'"x"', b"{", b"{}{}", b"{} x", b'{"a"}', b'{"a":}', b'{a:1}', b"{'a':1}", b'{"a":1,}',
            b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":01}', b'{"a":.5}', b'{"a":1.}', b'{"a":0x1}', b'{"a":+1}',
            b'{"a":1e}', b'{"a":"\x01"}', b'{"a":"\n"}', b'{"a":"\\x"}', b'{"a":"\\u12"}', b'{"a":"\\ud800"}',
            b'{"a":"\\udc00\\ud800"}', b'{"a":"\\u0000"}', b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xed\xa0\x80"}',
            b'{"a":"\xf5\x80\x80\x80"}', b'\xef\xbb\xbf{"a":1}', b'{"a":1}\x00', b'\x00{"a":1}', b"{\xff:1}", b'{"a":tru}', b"//c\n{}",
            b"{/*c*/}", b'{"a":1,"a":2}', b'{"a":{"b":1,"b":2}}', b'{"\\u0061":1,"a":2}', b"[" * 100000, b'{"a":' * 33 + b"1" + b"}" * 33,
            b'{"a":' * 5000, '{"a":1}'.encode("utf-16"), '{"a":1}'.encode("utf-32"), b'{"a":1' + b"0" * 400 + b"}", b'{"a":1e400}',
            b'{"a":18446744073709551616}', b'{"a":"' + b"x" * 2000]


@pytest.mark.parametrize("raw", JSON_BAD, ids=lambda raw: repr(raw[:24]))
def test_h15_json_that_is_none_or_hostile(server, raw):
    for path in ("/products", "/enrollment/codes", "/tokens"):
        reply = server.call("POST", path, raw, {"Content-Type": "application/json"})
        assert reply.status in (400, 422), (path, reply.status)
        assert reply.json["code"] in ("bad-request", "unknown-field", "invalid-field")


def test_h15_a_body_over_the_limit_is_413(server):
    assert server.call("POST", "/products", b'{"a":"' + b"x" * (1 << 20) + b'"}', {"Content-Type": "application/json"}).status == 413


def test_h17_many_members_with_like_names_cost_little(server):
    body = {f"k{i:06d}": i for i in range(40000)}
    begin = time.monotonic()
    assert server.call("POST", "/products", body).status in (400, 422)
    assert time.monotonic() - begin < 2


# ---- cursors, repeats --------------------------------------------------------------------------------------


def test_cursors_that_were_tampered_with_are_400(server, owner):
    for i in range(3):
        server.enroll("meter", f"84f3eb21000{i}")
    page = server.rest("GET", "/devices?limit=1&q=84f3eb21")
    cursor = page["next_cursor"]
    assert cursor
    assert server.call("GET", f"/devices?limit=1&q=84f3eb21&cursor={cursor}").status == 200
    for at in range(len(cursor)):
        bad = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1:]
        reply = server.call("GET", f"/devices?limit=1&q=84f3eb21&cursor={bad}")
        # The last symbol of a base64 text may hold bits that mean nothing.
        assert reply.status == 400 or reply.json["items"][0]["id"] == "84f3eb210001", (at, reply.body)
    for bad in (cursor[:-1], cursor + "A", cursor * 2, cursor + ".", "." + cursor, "....", "A" * 3000):
        assert server.call("GET", f"/devices?limit=1&q=84f3eb21&cursor={bad}").status == 400, bad
    for other in (f"/devices?limit=1&q=84f3eb&cursor={cursor}", f"/releases?limit=1&cursor={cursor}",
                  f"/devices?limit=1&q=84f3eb21&state=new&cursor={cursor}"):
        assert server.call("GET", other).status == 400
    token = server.rest("POST", "/tokens", {"name": "c", "role": "viewer", "product": "meter", "ttl_s": 60})["token"]
    assert server.call("GET", f"/devices?limit=1&q=84f3eb21&cursor={cursor}", token=token).status == 400


def test_an_idempotency_key_belongs_to_its_token_and_route(server, owner, tokens):
    def post(path, body, key, token=None):
        return server.call("POST", path, body, {"Idempotency-Key": key}, token=token)

    first = post("/releases", {"product": "meter", "version": "5.0.0"}, "same")
    assert first.status == 201
    again = post("/releases", {"product": "meter", "version": "5.0.0"}, "same")
    assert (again.status, again.json) == (201, first.json)
    assert post("/releases", {"product": "meter", "version": "5.0.0"}, "same", tokens["releaser"]).status == 409
    assert post("/products", {"name": "idem", "chip": "posix", "hardware": ["posix"]}, "same").status == 201
    problem(post("/releases", {"product": "meter", "version": "5.0.1"}, "same"), 422, "invalid-field")
    for bad in ("", "x" * 65):
        assert post("/releases", {"product": "meter", "version": "5.0.2"}, bad).status == 400
    refused = post("/releases", {"product": "nope", "version": "1.0.0"}, "refused")
    assert refused.status == 404
    server.product("nope")
    assert post("/releases", {"product": "nope", "version": "1.0.0"}, "refused").status == 201  # a refusal is not kept


def test_an_idempotency_key_in_parallel_makes_one_thing(server, owner, world):
    path = f"/devices/{world['id']}/commands"
    before = len(server.rest("GET", path)["items"])
    replies = attacks.in_parallel([lambda: server.call("POST", path, {"kind": "check"}, {"Idempotency-Key": "par"})] * 20, 10)
    made = {r.json["id"] for r in replies if r.status == 201}
    assert {r.status for r in replies} <= {201, 409, 503}
    assert len(made) == 1 and len(server.rest("GET", path)["items"]) - before == 1


def test_h9_a_browser_cannot_be_made_to_write(server):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        reply = server.call("POST", "/products", b'{"name":"csrf","chip":"posix","hardware":["posix"]}', {"Content-Type": kind})
        assert reply.status == 415
    reply = server.console_request("OPTIONS", "/api/v1/products", headers={"Origin": "https://evil", "Access-Control-Request-Method":
                                                                          "POST"})
    assert reply.status in (404, 405, 501) and reply.header("Access-Control-Allow-Origin") is None
    reply = server.call("GET", "/products", headers={"Origin": "https://evil"})
    assert not [h for h in reply.headers if h.startswith("access-control")] and reply.header("Set-Cookie") is None


def test_p10_no_form_of_a_private_key_is_taken_by_name_or_route(server):
    from cryptography.hazmat.primitives import serialization
    key = signing.Key().private
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL,
                 serialization.PrivateFormat.OpenSSH):
        pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
        for body in ({"name": "k", "use": "release", "pem": pem}, {"name": "k", "use": "root", "pem": signing.Key().pem + pem}):
            problem(server.call("POST", "/keys", body), 422, "private-key")
        assert server.call("POST", "/ca/issue", {"device_id": "x", "product": "meter", "csr": pem}).status in (400, 404, 422)
        assert pem.splitlines()[2] not in server.log.read_text()
    assert server.rest("GET", "/keys")["items"] == []
