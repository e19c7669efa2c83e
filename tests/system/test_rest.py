"""The REST contract, docs/spec/rest.md."""

import json
import time

import pytest

import signing

ERRORS = {400: "bad-request", 401: "unauthenticated", 403: "forbidden", 404: "not-found"}


def problem(reply, status, code):
    assert reply.status == status, reply.body
    assert reply.header("Content-Type") == "application/problem+json"
    body = reply.json
    assert body["code"] == code and body["status"] == status
    assert body["type"] == "urn:pagurus:problem:" + code
    assert body["title"] and body["detail"] and body["help"] and body["request_id"]
    return body


@pytest.fixture(scope="module")
def owner(server):
    return signing.Publisher(server, "meter")


def test_health_and_readiness_need_no_token(server):
    assert server.console_request("GET", "/healthz").body == b"ok\n"
    ready = server.console_request("GET", "/readyz")
    assert ready.status == 200 and ready.json["ready"] is True


def test_the_status_page_is_strict(server):
    page = server.console_request("GET", "/")
    assert page.status == 200 and b"<script src=" in page.body and b"onclick" not in page.body
    policy = page.header("Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for path in ("/console.js", "/console.css"):
        assert server.console_request("GET", path).status == 200
    assert b"innerHTML" not in server.console_request("GET", "/console.js").body
    for name, value in (("X-Frame-Options", "DENY"), ("X-Content-Type-Options", "nosniff")):
        assert page.header(name) == value


def test_without_a_good_token_it_is_401(server):
    for token in ("", "pgt_x", "pgt_aaaaaaaaaaaa_" + "A" * 43 + "_00000000"):
        problem(server.call("GET", "/status", headers={"Authorization": "Bearer " + token}), 401, "unauthenticated")
    problem(server.console_request("GET", "/api/v1/status"), 401, "unauthenticated")


def test_roles_hold_the_ones_before(server, owner):
    def token(role):
        return server.rest("POST", "/tokens", {"name": role, "role": role, "ttl_s": 600})["token"]

    viewer, operator, releaser = token("viewer"), token("operator"), token("releaser")
    assert server.call("GET", "/devices", token=viewer).status == 200
    problem(server.call("GET", "/enrollment/codes", token=viewer), 403, "forbidden")
    assert server.call("GET", "/enrollment/codes", token=operator).status == 200
    problem(server.call("POST", "/releases", {"product": "meter", "version": "9.9.9"}, token=operator), 403, "forbidden")
    assert server.call("POST", "/releases", {"product": "meter", "version": "9.9.9"}, token=releaser).status == 201
    problem(server.call("GET", "/tokens", token=releaser), 403, "forbidden")


def test_a_deleted_token_is_dead(server):
    made = server.rest("POST", "/tokens", {"name": "short", "role": "viewer", "ttl_s": 600})
    assert server.call("GET", "/whoami", token=made["token"]).json["actor"] == "token:short"
    assert server.call("DELETE", "/tokens/" + made["id"]).status == 204
    problem(server.call("GET", "/whoami", token=made["token"]), 401, "unauthenticated")
    assert made["token"] not in json.dumps(server.rest("GET", "/tokens"))


def test_unknown_and_wrong_members_are_named(server):
    body = problem(server.call("POST", "/products", {"name": "x", "chip": "posix", "hardware": ["posix"], "sise": 1}),
                   422, "unknown-field")
    assert body["errors"][0]["pointer"] == "/sise"
    body = problem(server.call("POST", "/products", {"name": 7, "chip": "posix"}), 422, "invalid-field")
    assert {e["pointer"] for e in body["errors"]} == {"/name", "/hardware"}
    body = problem(server.call("POST", "/products", {"name": "x", "chip": "z80", "hardware": ["posix"]}), 422,
                   "invalid-field")
    assert body["errors"][0]["pointer"] == "/chip"
    problem(server.call("POST", "/products", {"name": "x", "chip": "posix", "hardware": ["posix"],
                                              "settings": {"poll_s": 1}}), 422, "invalid-field")


@pytest.mark.parametrize("raw", [b"{", b"{}x", b'{"a":1,"a":2}', b"[" * 40 + b"]" * 40, b'{"a":"\xff"}'])
def test_json_that_is_none_is_400(server, raw):
    problem(server.call("POST", "/products", raw, {"Content-Type": "application/json"}), 400, "bad-request")


def test_another_media_type_is_415(server):
    problem(server.call("POST", "/products", b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}), 415,
            "unsupported-type")


def test_paths_that_are_not_there(server):
    problem(server.call("GET", "/nothing"), 404, "not-found")
    problem(server.call("GET", "/devices/no-such-device"), 404, "not-found")
    problem(server.call("GET", "/products/nope"), 404, "not-found")
    assert server.call("DELETE", "/status").status == 405


def test_products_are_made_once_and_changed(server):
    made = server.product("thing", poll_s=60)
    assert made["id"].startswith("prd_") and made["settings"]["poll_s"] == 60
    problem(server.call("POST", "/products", {"name": "thing", "chip": "posix", "hardware": ["posix"]}), 409,
            "product-exists")
    changed = server.rest("PATCH", "/products/thing", {"settings": {"topics": {"status": "/status/{id}"}}})
    assert changed["settings"]["topics"]["status"] == "/status/{id}" and changed["settings"]["poll_s"] == 60
    assert server.call("PATCH", "/products/thing", {"settings": {"topics": {"status": "/status/#"}}}).status == 422


def test_the_same_idempotency_key_answers_the_same(server):
    body = {"product": "meter", "version": "3.0.0"}
    first = server.call("POST", "/releases", body, {"Idempotency-Key": "k1"})
    again = server.call("POST", "/releases", body, {"Idempotency-Key": "k1"})
    assert first.status == again.status == 201 and first.json == again.json
    problem(server.call("POST", "/releases", {"product": "meter", "version": "3.0.1"}, {"Idempotency-Key": "k1"}), 422,
            "invalid-field")
    problem(server.call("POST", "/releases", body), 409, "version-exists")


def test_an_image_is_judged_before_it_is_kept(server, owner):
    release = server.rest("POST", "/releases", {"product": "meter", "version": "4.0.0"})
    assert problem(server.upload(release["id"], b"not an image"), 422, "image-refused")["detail"]
    key = b"-----BEGIN PRIVATE KEY-----\n" + b"MIGHAgEAMBMGByqGSM49" * 6 + b"\n-----END PRIVATE KEY-----\n"
    problem(server.upload(release["id"], key), 422, "private-key")
    with open("/bin/true", "rb") as f:
        image = f.read()
    wrong = "sha-256=:" + "A" * 43 + "=:"
    reply = server.call("PUT", f"/releases/{release['id']}/images/firmware", image, {"Repr-Digest": wrong})
    assert reply.status == 422
    assert server.upload(release["id"], image).json["sha256"]
    problem(server.upload(release["id"], open("/bin/false", "rb").read()), 409, "image-differs")
    assert server.call("GET", f"/releases/{release['id']}/images/firmware").body == image
    problem(server.call("POST", f"/releases/{release['id']}:publish"), 422, "release-refused")
    owner.sign(release, "4.0.0", image)
    assert server.rest("POST", f"/releases/{release['id']}:publish")["state"] == "published"
    assert server.rest("POST", f"/releases/{release['id']}:withdraw")["state"] == "withdrawn"


def test_a_manifest_of_a_stranger_is_refused(server, owner):
    with open("/bin/true", "rb") as f:
        image = f.read()
    release = owner.draft("5.0.0", image, signed=False)
    stranger = signing.Key()
    cose = signing.manifest(stranger, owner.product_id, "posix", ("posix",), "5.0.0", release["sequence"], image)
    problem(server.call("POST", f"/releases/{release['id']}/manifests", cose, {"Content-Type": "application/cose"}),
            422, "manifest-refused")
    owner.sign(release, "5.0.0", image)


def test_lists_go_by_cursor_and_a_cursor_belongs_to_its_query(server, owner):
    for i in range(5):
        server.enroll("meter", f"84f3eb0020{i:02x}")
    seen, cursor = [], ""
    while cursor is not None:
        page = server.rest("GET", "/devices?limit=2&q=84f3eb0020" + (f"&cursor={cursor}" if cursor else ""))
        seen += [d["id"] for d in page["items"]]
        assert page["total"] == {"value": 5, "relation": "exact"}
        last, cursor = cursor, page["next_cursor"]
    assert seen == [f"84f3eb0020{i:02x}" for i in range(5)]
    problem(server.call("GET", f"/devices?limit=2&cursor={last}"), 400, "bad-request")
    problem(server.call("GET", "/devices?limit=2&cursor=AAAA.BBBB"), 400, "bad-request")
    problem(server.call("GET", "/devices?limit=1001"), 422, "invalid-field")


def test_a_device_can_be_named_pinned_and_commanded(server, owner):
    device = server.enroll("meter", "84f3eb003001")
    text = "<script>alert(1)</script>"
    shown = server.rest("PATCH", f"/devices/{device.id}", {"name": text, "tags": ["cellar", "a"], "pin": "1.0.0"})
    assert shown["name"] == text and set(shown["tags"]) == {"cellar", "a"} and shown["pin"] == "1.0.0"
    assert server.rest("PATCH", f"/devices/{device.id}", {"pin": None})["pin"] is None
    made = server.rest("POST", f"/devices/{device.id}/commands", {"kind": "reboot"})
    assert made["state"] == "queued" and made["id"].startswith("cmd_")
    assert server.call("POST", f"/devices/{device.id}/commands", {"kind": "explode"}).status == 422
    assert [c["id"] for c in server.rest("GET", f"/devices/{device.id}/commands")["items"]] == [made["id"]]
    kinds = [e["type"] for e in server.rest("GET", f"/devices/{device.id}/history")["items"]]
    assert "command.queued" in kinds
    assert server.rest("GET", f"/devices/{device.id}/data") == {"status": None, "status_at": None, "data": []}


def test_events_are_ascending_and_complete(server):
    page = server.rest("GET", "/events?after=0&limit=1000")
    seqs = [e["seq"] for e in page["items"]]
    assert seqs == sorted(seqs) and len(set(seqs)) == len(seqs) and page["next_after"] == seqs[-1]
    newest = server.rest("GET", "/events?limit=3")
    assert [e["seq"] for e in newest["items"]] == seqs[-3:]


def test_the_authorities_are_public(server):
    for name in ("root.pem", "device.pem", "server.pem"):
        reply = server.console_request("GET", "/api/v1/ca/" + name)
        assert reply.status == 200 and b"BEGIN CERTIFICATE" in reply.body and b"PRIVATE" not in reply.body
    ca = server.rest("GET", "/ca")
    assert set(ca) >= {"root", "device", "server", "operator", "crl"}
    assert len(bytes.fromhex(server.rest("GET", "/freshness-key")["point"])) == 64


def test_a_private_key_is_never_taken(server):
    from cryptography.hazmat.primitives import serialization
    key = signing.Key()
    private = key.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                        serialization.NoEncryption()).decode()
    problem(server.call("POST", "/keys", {"name": "ci", "pem": private, "use": "release"}), 422, "private-key")
    assert server.rest("POST", "/keys", {"name": "ci", "pem": key.pem, "use": "release"})["id"] == key.id.hex()
    assert private[30:60] not in server.log.read_text()


def test_status_and_metrics_agree(server):
    status = server.rest("GET", "/status")
    text = server.console_request("GET", "/metrics", headers={"Authorization": "Bearer " + server.token}).body.decode()
    assert server.console_request("GET", "/metrics").status == 401
    values = {line.split(" ")[0]: float(line.split(" ")[1]) for line in text.splitlines() if not line.startswith("#")}
    total = sum(v for k, v in values.items() if k.startswith("pagurus_devices{"))
    assert total == status["devices"]["total"] > 0
    assert status["broker"]["state"] == "off" and status["root_exported"] is False and status["warnings"]


def test_ready_within_two_seconds_after_a_kill(server):
    before = server.rest("GET", "/devices")["total"]["value"]
    server.stop(9)
    begun = time.monotonic()
    server.start()
    assert time.monotonic() - begun < 2
    assert server.rest("GET", "/devices")["total"]["value"] == before


def test_a_second_instance_is_refused_with_its_reason(server):
    import subprocess
    done = subprocess.run(server.command("run"), capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 5 and "already uses" in done.stderr


def test_hup_reads_certificates_again_and_term_ends_cleanly(server):
    import os
    import signal
    os.kill(server.process.pid, signal.SIGHUP)
    server.until(lambda: "reload.done" in server.log.read_text())
    assert server.console_request("GET", "/healthz").status == 200
    begun = time.monotonic()
    assert server.stop(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 10
    assert not (server.data / "run" / "ports.json").exists() and not (server.data / "run" / "pid").exists()
    server.start()
