"""What a review found, each held by a test."""

import socket
import ssl

import attacks


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
