"""A product owns the paths that its devices know already: docs/spec/legacy-http.md 1."""

import pytest

import esp8266
import signing

OLD = esp8266.arduino("plug", "0.9.0")
NEW = esp8266.arduino("plug", "1.0.0")
SAFE = esp8266.arduino("safe", "2.0.0")


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "legacy.enabled=true").start()


@pytest.fixture(scope="module")
def owner(server):
    one = signing.Publisher(server, "plug", "esp8266", ("d1mini",), legacy_auth="none", plain_http=True)
    one.publish("1.0.0", NEW)
    other = signing.Publisher(server, "safe", "esp8266", ("d1mini",))
    other.publish("2.0.0", SAFE)
    return one


_next = iter(range(1, 10000))


@pytest.fixture
def plug(server, owner):
    return esp8266.Updater(server, "plug", f"5ccf7e{next(_next):06x}", OLD)


def add(server, product, path, kind="httpupdate", **other):
    return server.call("POST", f"/products/{product}/mounts", {"path": path, "kind": kind, **other})


def remove(server, product, path):
    return server.call("DELETE", f"/products/{product}/mounts?path={path}")


def test_a_path_answers_from_the_moment_it_is_mounted_until_it_is_removed(server, plug):
    assert plug.raw(path="/esp/firmware.php?x=1")[0] == 404
    reply = add(server, "plug", "/esp/firmware.php")
    assert reply.status == 201 and reply.json["kind"] == "httpupdate" and reply.json["auth"] is None
    assert plug.raw(path="/esp/firmware.php?x=1")[0] == 200
    assert plug.raw(path="/esp/firmware.php", port="legacy")[0] == 200
    assert plug.raw(path="/esp/firmware.phpx")[0] == 404 and plug.raw(path="/esp")[0] == 404
    assert [m["path"] for m in server.rest("GET", "/products/plug/mounts")["items"]] == ["/esp/firmware.php"]
    assert remove(server, "plug", "/esp/firmware.php").status == 204
    assert plug.raw(path="/esp/firmware.php")[0] == 404
    assert remove(server, "plug", "/esp/firmware.php").status == 404


def test_the_longest_path_wins_whoever_owns_it(server, plug):
    assert add(server, "plug", "/fw").status == 201
    assert add(server, "safe", "/fw/inner", auth="none").status == 201
    status, _, body, _ = plug.raw(path="/fw/other/x.bin")
    assert (status, body) == (200, NEW)
    stranger = esp8266.Updater(server, "safe", f"5ccf7d{next(_next):06x}", OLD)
    status, _, body, _ = stranger.raw(path="/fw/inner/x.bin")
    assert (status, body) == (200, SAFE)


def test_the_root_is_the_last_resort(server, plug):
    assert plug.raw(path="/")[0] == 404
    assert add(server, "plug", "/").status == 201
    assert plug.raw(path="/")[0] == 200 and plug.raw(path="/anything/at.all")[0] == 200
    assert server.device_request("GET", "/v1/blob/" + "0" * 64).status == 401
    assert remove(server, "plug", "/").status == 204


def test_a_path_has_one_owner_in_the_installation(server, owner):
    assert add(server, "plug", "/shared").status == 201
    assert add(server, "plug", "/shared").status == 201, "the same again changes nothing"
    refused = add(server, "safe", "/shared")
    assert refused.status == 409 and refused.json["type"].endswith("mount-exists")
    assert remove(server, "safe", "/shared").status == 404


@pytest.mark.parametrize("path", ["", "x", "/a/", "//a", "/a/../b", "/a b", "/a?b", "/v1/check", "/update/plug",
                                  "/files/x", "/tag", "/secureesp8266/x", "/.well-known/est", "/" + "a" * 128])
def test_what_cannot_be_a_path_or_is_ours_is_refused(server, owner, path):
    assert add(server, "plug", path).status == 422


@pytest.mark.parametrize("other", [{"kind": "php"}, {"auth": "password"}, {"options": {"x": "y" * 1100}}, {"more": 1}])
def test_what_a_mount_cannot_be_is_refused(server, owner, other):
    assert server.call("POST", "/products/plug/mounts", {"path": "/z", "kind": "files", **other}).status == 422


def test_the_plain_listener_knows_no_mount_of_a_product_that_did_not_ask_for_it(server, plug):
    assert add(server, "safe", "/quiet", auth="none").status == 201
    assert plug.raw(path="/quiet", port="legacy")[0] == 404
    stranger = esp8266.Updater(server, "safe", f"5ccf7d{next(_next):06x}", OLD)
    assert stranger.raw(path="/quiet")[0] == 200


def test_a_mount_may_ask_for_more_or_less_than_its_product(server, plug):
    assert add(server, "plug", "/strict", auth="certificate").status == 201
    assert plug.raw(path="/strict")[0] == 401
    stranger = esp8266.Updater(server, "safe", f"5ccf7d{next(_next):06x}", OLD)
    assert stranger.raw(path="/update/safe")[0] == 401


def test_mounts_outlive_a_restart(server, plug):
    assert add(server, "plug", "/kept", options={"a": 1}).status == 201
    server.stop()
    server.start()
    assert plug.raw(path="/kept")[0] == 200
    kept = [m for m in server.rest("GET", "/products/plug/mounts")["items"] if m["path"] == "/kept"]
    assert kept[0]["options"] == {"a": 1}


def test_a_viewer_sees_mounts_and_changes_none(server, owner):
    token = server.rest("POST", "/tokens", {"name": "v", "role": "viewer", "ttl_s": 600})["token"]
    assert server.call("GET", "/products/plug/mounts", token=token).status == 200
    assert server.call("POST", "/products/plug/mounts", {"path": "/v", "kind": "files"}, token=token).status == 403
