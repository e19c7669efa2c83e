"""What a review found, each held by a test."""

import hashlib
import os
import signal
import socket
import ssl
import time

import attacks
import cborish
import esp8266
import test_mqtt


def test_two_parallel_patches_of_a_product_both_stay(server):
    server.product("meter")
    for i in range(30):
        server.rest("PATCH", "/products/meter", {"settings": {"plain_http": True, "poll_s": 300}})
        attacks.in_parallel([lambda: server.rest("PATCH", "/products/meter", {"settings": {"plain_http": False}}),
                             lambda: server.rest("PATCH", "/products/meter", {"settings": {"poll_s": 600}})], 2)
        settings = server.rest("GET", "/products/meter")["settings"]
        assert (settings["plain_http"], settings["poll_s"]) == (False, 600), i


def test_a_repeat_of_what_showed_a_secret_is_a_conflict(server):
    server.product("secrets")
    for path, body in (("/enrollment/codes", {"product": "secrets"}), ("/tokens", {"name": "once", "role": "viewer", "ttl_s": 600})):
        first = server.call("POST", path, body, {"Idempotency-Key": "shown"})
        again = server.call("POST", path, body, {"Idempotency-Key": "shown"})
        assert first.status == 201 and again.status == 409 and again.json["code"] == "conflict"
        assert "once" in again.json["detail"]
        assert server.call("POST", path, body, {"Idempotency-Key": "another"}).status == 201


def test_a_refused_call_takes_no_idempotency_key(server):
    server.product("again")
    body = {"product": "again", "version": "1.0.0"}
    assert server.call("POST", "/releases", body).status == 201
    assert server.call("POST", "/releases", body, {"Idempotency-Key": "r"}).status == 409
    assert server.call("POST", "/releases", {**body, "version": "1.0.1"}, {"Idempotency-Key": "r"}).status == 201


def test_a_body_without_a_token_is_refused_before_it_is_read(server):
    for announced in (b"Content-Length: 100000\r\n", b"Transfer-Encoding: chunked\r\n"):
        for method, path in ((b"POST", b"/products"), (b"PATCH", b"/products/meter"), (b"PUT", b"/products/meter/trust-sets/1")):
            raw = socket.create_connection(("localhost", server.ports["console"]), 5)
            with server.tls().wrap_socket(raw, server_hostname="localhost") as c:
                c.sendall(method + b" /api/v1" + path + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                          b"Expect: 100-continue\r\nAuthorization: Bearer pgt_none\r\n" + announced + b"\r\n")
                try:
                    head = c.recv(4096)
                except (TimeoutError, ssl.SSLError):
                    head = b"nothing"
                assert head.startswith(b"HTTP/1.1 401"), head


TOPICS = {"command": "home/{id}/cmd", "status": "home/{id}/status", "will": "home/{id}/will"}


def publish(server, device, topic, text):
    test_mqtt.Session(server, device).publish("/" + topic, text.encode())


def test_two_products_with_the_same_topics_are_both_heard(server_mqtt):
    own = {k: "/" + v for k, v in TOPICS.items()}
    for name in ("qa", "qb"):
        server_mqtt.product(name, topics=own)
    devices = [server_mqtt.enroll("qa", "84f3eb0000a1"), server_mqtt.enroll("qb", "84f3eb0000b1")]
    time.sleep(1.5)
    for device in devices:
        publish(server_mqtt, device, f"home/{device.id}/status", '{"version":"1.2.3"}')
    for device in devices:
        data = server_mqtt.until(lambda d=device: server_mqtt.rest("GET", f"/devices/{d.id}/data")["status"])
        assert data["version"] == "1.2.3"


def test_templates_of_others_and_too_many_are_refused(server):
    for bad in ("$SYS/{id}", "pg/v1/d/{id}/up/status", "a b/{id}", "a/{id}/{id}", "ü/{id}"):
        reply = server.call("POST", "/products", {"name": "bad", "chip": "posix", "hardware": ["posix"],
                                                  "settings": {"topics": {"status": bad}}})
        assert reply.status == 422, bad
    made = 0
    for i in range(40):
        reply = server.call("POST", "/products", {"name": f"t{i}", "chip": "posix", "hardware": ["posix"], "settings": {
            "topics": {k: f"t{i}/{v}" for k, v in TOPICS.items()}}})
        if reply.status != 201:
            break
        made += 1
    assert reply.status == 422 and "64" in reply.json["errors"][0]["detail"] and made == 21
    server.product("plain")
    assert server.call("PATCH", "/products/plain", {"settings": {"topics": {"will": "x1/{id}"}}}).status == 200
    reply = server.call("PATCH", "/products/plain", {"settings": {"topics": {"status": "x2/{id}"}}})
    assert reply.status == 422 and server.rest("GET", "/products/plain")["settings"]["topics"]["status"] == ""
    same = {k: f"t0/{v}" for k, v in TOPICS.items()}
    assert server.call("PATCH", "/products/t1", {"settings": {"topics": same}}).status == 200


def test_online_does_not_outlive_a_restart_but_what_is_retained_does(make_server):
    server = make_server().start()
    server.wait_ready()
    server.product("meter")
    gone, there = server.enroll("meter", "84f3eb0000c1"), server.enroll("meter", "84f3eb0000c2")
    test_mqtt.Session(server, gone).publish("will", b"online")
    test_mqtt.Session(server, there).publish("will", b"online", "-r")
    for device in (gone, there):
        server.until(lambda d=device: server.rest("GET", "/devices/" + d.id)["online"])
    server.stop()
    server.start()
    server.wait_ready()
    server.until(lambda: server.rest("GET", "/devices/" + there.id)["online"])
    assert server.rest("GET", "/devices/" + gone.id)["online"] is False


def test_a_lost_broker_makes_nobody_online(make_server):
    server = make_server().start()
    server.wait_ready()
    server.product("meter")
    device = server.enroll("meter", "84f3eb0000c3")
    test_mqtt.Session(server, device).publish("will", b"online")
    server.until(lambda: server.rest("GET", "/devices/" + device.id)["online"])
    os.kill(server.rest("GET", "/status")["broker"]["pid"], signal.SIGKILL)
    server.until(lambda: not server.rest("GET", "/devices/" + device.id)["online"])


def files_of(server):
    return sorted(p.name for p in (server.data / "blobs").rglob("*") if p.is_file())


def test_a_refused_image_stays_on_no_disk(server):
    server.product("board")
    release = server.rest("POST", "/releases", {"product": "board", "version": "1.0.0"})
    before = files_of(server)
    assert server.upload(release["id"], esp8266.arduino("board", "1.0.0")).status == 422  # another chip
    assert files_of(server) == before


def test_files_without_a_row_go_at_start_and_the_others_stay(make_server):
    server = make_server("mqtt.mode=off").start()
    server.product("board", chip="esp8266", hardware=("d1mini",))
    release = server.rest("POST", "/releases", {"product": "board", "version": "1.0.0"})
    image = esp8266.arduino("board", "1.0.0")
    assert server.upload(release["id"], image).status == 201
    held = files_of(server)
    server.stop()
    stray = server.data / "blobs" / "ab"
    stray.mkdir(mode=0o700, exist_ok=True)
    (stray / ("ab" * 32)).write_bytes(b"nobody's")
    damaged = server.data / "blobs" / held[0][:2] / held[0]
    damaged.write_bytes(bytes(len(image)))
    server.start()
    assert files_of(server) == held
    assert server.upload(release["id"], image).status in (200, 201)
    assert damaged.read_bytes() == image


def test_commands_that_have_expired_block_no_new_ones(server):
    server.product("busy")
    device = server.enroll("busy", "84f3eb0000d1")
    path = f"/devices/{device.id}/commands"
    for _ in range(64):
        server.rest("POST", path, {"kind": "identify", "ttl_s": 1})
    time.sleep(1.2)
    assert server.call("POST", path, {"kind": "identify"}).status == 201


def test_a_device_makes_one_running_event_a_minute_and_old_events_go(make_server):
    server = make_server("mqtt.mode=off", "store.events=3s", "device.silence=1s").start()
    server.product("flap")
    device = server.enroll("flap", "84f3eb0000e1")
    check = {1: bytes(32), 2: "0.0.1", 3: 0, 4: 0, 5: 1, 6: 0, 7: 0, 8: 10_000_000, 9: 255, 10: b"posix", 11: 1}
    for i in range(20):
        check[1], check[2] = hashlib.sha256(b"%d" % i).digest(), f"v{i}"
        reply = device.request("POST", "/v1/check", cborish.dumps(check), {"Content-Type": "application/cbor"})
        assert reply.status in (200, 204), reply.status
    events = server.rest("GET", "/events?after=0&limit=1000")["items"]
    assert 1 <= sum(e["type"] == "device.running" for e in events) <= 2
    newest = events[-1]["seq"]
    server.until(lambda: len(server.rest("GET", "/events?after=0&limit=1000")["items"]) == 1, 15)
    assert server.rest("GET", "/events?after=0&limit=1000")["items"][0]["seq"] == newest
