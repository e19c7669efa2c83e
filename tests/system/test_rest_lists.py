"""What the REST API lists, page by page and within a token's scope; the audit chain; permits. docs/spec/rest.md."""

import sqlite3
import time

import pytest

import signing
from test_rest import problem

COSE = {"Content-Type": "application/cose"}


@pytest.fixture(scope="module")
def owner(server):
    return signing.Publisher(server, "meter")


@pytest.fixture(scope="module")
def scoped(server, owner):
    """A viewer's token for meter, among the events of a louder product."""
    server.product("lamp")
    token = server.rest("POST", "/tokens", {"name": "one", "role": "viewer", "product": "meter", "ttl_s": 600})["token"]
    for i in range(12):
        server.rest("PATCH", "/products/lamp", {"settings": {"poll_s": 60 + i}})
    return token


def key_of(item):
    return next(item[k] for k in ("serial", "seq", "id", "name", "version") if k in item)


def walk(server, path, limit, token=None):
    """All items of a list by its cursors."""
    items, cursor = [], None
    while True:
        page = server.rest("GET", f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""), token=token)
        assert len(page["items"]) <= limit and page["total"]["relation"] == "exact"
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items, page["total"]["value"]


@pytest.fixture(scope="module")
def filled(server, owner):
    """More than two pages of everything there are lists of."""
    one = server.enroll("meter", "84f3eb004000")
    for i in range(3):
        server.enroll("meter", f"84f3eb00410{i}")
        server.product(f"p{i}")
        server.rest("POST", "/tokens", {"name": f"t{i}", "role": "viewer", "ttl_s": 600})
        server.rest("POST", "/enrollment/codes", {"product": "meter", "uses": 1, "ttl_s": 600})
        server.rest("POST", "/keys", {"name": f"k{i}", "pem": signing.Key().pem, "use": "release"})
        server.rest("POST", "/releases", {"product": "meter", "version": f"0.{i}.0"})
        server.rest("POST", f"/devices/{one.id}/commands", {"kind": "identify"})
    second = signing.trust_set(owner.product_id, [owner.root], [owner.key], version=2, previous=owner.trust)
    assert server.call("PUT", "/products/meter/trust-sets/2", second, COSE).status == 201
    return one.id


LISTS = ["/certificates", "/devices", "/products", "/tokens", "/keys", "/enrollment/codes", "/releases",
         "/products/meter/trust-sets", "/devices/{id}/history", "/devices/{id}/commands"]


@pytest.mark.parametrize("path", LISTS)
def test_every_list_goes_by_cursor(server, filled, path):
    path = path.replace("{id}", filled)
    whole, total = walk(server, path, 1000)
    assert len(whole) == total >= 2
    for limit in (1, 2):
        paged, counted = walk(server, path, limit)
        assert [key_of(i) for i in paged] == [key_of(i) for i in whole] and counted == total
    cursor = server.rest("GET", path + "?limit=1")["next_cursor"]
    problem(server.call("GET", f"{path}?limit=1&cursor={cursor[:-2]}"), 400, "bad-request")
    problem(server.call("GET", f"{path}?limit=0"), 422, "invalid-field")


def test_a_cursor_of_certificates_belongs_to_its_device(server, filled):
    cursor = server.rest("GET", "/certificates?limit=1")["next_cursor"]
    problem(server.call("GET", f"/certificates?limit=1&device={filled}&cursor={cursor}"), 400, "bad-request")
    own = server.rest("GET", f"/certificates?device={filled}")
    assert [c["device"] for c in own["items"]] == [filled] and own["total"]["value"] == 1


def test_the_newest_events_of_a_scoped_token_are_its_own(server, scoped):
    mine = [e["seq"] for e in server.rest("GET", "/events?after=0&limit=1000")["items"] if e["product"] == "meter"]
    assert len(mine) >= 2
    page = server.rest("GET", "/events?limit=2", token=scoped)
    assert [e["seq"] for e in page["items"]] == mine[-2:] and page["next_after"] == mine[-1]
    first = server.rest("GET", "/events?after=0&limit=1", token=scoped)
    assert [e["seq"] for e in first["items"]] == mine[:1] and first["next_after"] == mine[0]
    assert server.rest("GET", f"/events?after={mine[-1]}", token=scoped) == {"items": [], "next_after": mine[-1]}


def test_the_audit_chain_is_verified_and_names_the_row_that_was_changed(server, owner, scoped):
    whole = server.rest("GET", "/audit/verify")
    assert whole["intact"] is True and whole["seq"] >= 14
    problem(server.call("GET", "/audit/verify", token=scoped), 403, "forbidden")
    admin = server.rest("POST", "/tokens", {"name": "a", "role": "admin", "product": "meter", "ttl_s": 600})["token"]
    problem(server.call("GET", "/audit/verify", token=admin), 403, "forbidden")

    def change(sql):
        with sqlite3.connect(next(server.data.rglob("*.db")), timeout=10) as db:
            return db.execute(sql).rowcount
    before = server.rest("GET", "/audit/verify")["seq"]
    assert change("UPDATE audit SET actor = actor || '!' WHERE seq = 5") == 1
    assert server.rest("GET", "/audit/verify") == {"intact": False, "seq": 5}
    assert change("UPDATE audit SET actor = substr(actor, 1, length(actor) - 1) WHERE seq = 5") == 1
    assert server.rest("GET", "/audit/verify") == {"intact": True, "seq": before}


def test_a_permit_leads_to_an_older_release_of_the_product_and_nowhere_else(server, owner):
    with open("/bin/true", "rb") as f:
        image = f.read()
    old = owner.draft("7.0.0", image)
    new = owner.draft("7.1.0", image)
    ends = int(time.time()) + 86400

    def permit(key=owner.key, sequence=old["sequence"], **other):
        fields = {"kind": 6, "k15": ends, "k17": [new["sequence"], 0], **other}
        cose = signing.manifest(key, owner.product_id, "posix", ("posix",), "7.0.0", sequence, image, **fields)
        return server.call("POST", f"/releases/{new['id']}/permits", cose, COSE)
    problem(permit(key=signing.Key()), 422, "manifest-refused")
    problem(permit(kind=0, k17=[0, 0]), 422, "manifest-refused")
    for sequence in (new["sequence"], new["sequence"] + 1):  # not down
        assert permit(sequence=sequence).status in (409, 422)
    problem(permit(k15=0), 422, "manifest-refused")
    problem(permit(k3=bytes(8)), 422, "manifest-refused")
    chain = server.rest("GET", "/audit/verify")["seq"]
    assert permit().status == 201
    assert server.rest("GET", "/audit/verify") == {"intact": True, "seq": chain + 1}
    newest = server.rest("GET", "/events?limit=1")["items"][0]
    assert newest["type"] == "release.permit" and newest["product"] == "meter"
