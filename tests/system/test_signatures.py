"""Signatures of the old world: Arduino's trailers, detached signatures, keys inside images (docs/spec/legacy-signatures.md)."""

import gzip
import hashlib

import pytest

import arduino
import esp8266

_macs = iter(range(1, 100000))


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "legacy.enabled=true").start()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return [arduino.Key(folder, f"key-{n}") for n in range(1, 5)]


class Owner:
    """A product whose devices have no certificates, and its releases."""

    def __init__(self, server, name):
        self.server = server
        self.name = name
        self.ids = {}
        server.product(name, "esp8266", ("d1mini",), legacy_auth="none", plain_http=True)

    def draft(self, version, image, name="firmware", **query):
        release = self.server.rest("POST", "/releases", {"product": self.name, "version": version})
        self.ids[version] = release["id"]
        text = "&".join(f"{k}={v}" for k, v in query.items())
        return self.server.upload(release["id"], image, name + ("?" + text if text else ""))

    def act(self, version, verb, **body):
        return self.server.call("POST", f"/releases/{self.ids[version]}:{verb}", body)

    def publish(self, version, image, **query):
        reply = self.draft(version, image, **query)
        assert reply.status == 201, reply.body
        assert self.act(version, "publish").status == 200
        return reply.json


@pytest.fixture
def owner(server):
    return Owner(server, f"prod-{next(_macs)}")


def plug(owner, image, version=None):
    return esp8266.Updater(owner.server, owner.name, f"5ccf7f{next(_macs):06x}", image, version)


def why(device):
    return device.server.rest("GET", f"/devices/{device.mac}")["why"]


def md5_of(headers):
    return [v for n, v in headers if n.lower() == "x-md5"]


# ---- trailers ----

@pytest.mark.parametrize("legacy", [False, True])
def test_a_signed_file_is_served_as_it_is_and_known_by_the_md5_of_its_payload(owner, keys, legacy):
    keys[0].register(owner.server, owner.name)
    plain = arduino.image(owner.name, "1.0.0", keys[0])
    signed = keys[0].signed(plain, legacy)
    shown = owner.publish("1.0.0", signed)
    assert shown["signed_by"] == shown["embedded_key"] == keys[0].id
    assert shown["trailer_form"] == ("legacy" if legacy else "standard")
    device = plug(owner, esp8266.arduino(owner.name, "0.9.0"))
    status, headers, body, _ = device.raw()
    assert (status, body) == (200, signed) and md5_of(headers) == [hashlib.md5(signed).hexdigest()]
    device.image = plain
    assert device.raw()[0] == 304
    assert owner.server.rest("GET", f"/devices/{device.mac}")["state"] == "up_to_date"


def test_a_file_that_is_packed_first_and_signed_then_is_read(owner, keys):
    keys[0].register(owner.server, owner.name)
    plain = arduino.image(owner.name, "1.0.0", keys[0])
    reply = owner.draft("1.0.0", keys[0].signed(gzip.compress(plain, mtime=0)))
    assert reply.status == 201 and reply.json["gzip"] and reply.json["signed_by"] == keys[0].id


def test_a_signature_of_another_key_is_refused_with_the_names_of_those_that_count(owner, keys):
    keys[0].register(owner.server, owner.name)
    reply = owner.draft("1.0.0", keys[1].signed(arduino.image(owner.name, "1.0.0", keys[0])))
    assert reply.status == 422 and reply.json["code"] == "image-refused"
    assert "none of the product's signing keys" in reply.json["detail"] and "key-1" in reply.json["detail"]


def test_a_flipped_bit_under_a_signature_is_refused(owner, keys):
    keys[0].register(owner.server, owner.name)
    signed = bytearray(keys[0].signed(gzip.compress(arduino.image(owner.name, "1.0.0", keys[0]), mtime=0)))
    signed[-100] ^= 1
    assert owner.draft("1.0.0", bytes(signed)).status == 422


def test_a_signature_of_another_size_is_refused_with_the_sizes(owner, keys, tmp_path):
    keys[0].register(owner.server, owner.name)
    big = arduino.Key(tmp_path, "big", 4096)
    reply = owner.draft("1.0.0", big.signed(arduino.image(owner.name, "1.0.0", keys[0])))
    assert reply.status == 422 and "4096 bits" in reply.json["detail"]


def test_a_signed_file_system_is_checked_too(owner, keys):
    keys[0].register(owner.server, owner.name)
    data = bytes(range(256)) * 32
    good = owner.draft("1.0.0", keys[0].signed(data), "filesystem")
    assert good.status == 201 and good.json["signed_by"] == keys[0].id
    assert owner.draft("1.0.1", keys[1].signed(data), "filesystem").status == 422


# ---- keys inside images ----

def test_an_unknown_key_in_the_image_is_found_and_counts_for_the_next_release(owner, keys):
    first = owner.publish("1.0.0", arduino.image(owner.name, "1.0.0", keys[2]))
    assert first["embedded_key"] and first["signed_by"] is None
    second = owner.publish("1.1.0", keys[2].signed(arduino.image(owner.name, "1.1.0", keys[2])))
    assert second["signed_by"] == first["embedded_key"]


def test_of_several_registered_keys_in_an_image_the_uploader_says_which(owner, keys):
    for key in keys[:2]:
        key.register(owner.server, owner.name)
    both = esp8266.arduino(owner.name, "1.0.0", more=(keys[0].pem + keys[1].pem).encode())
    refused = owner.draft("1.0.0", both)
    assert refused.status == 422 and "verify_key" in refused.json["detail"]
    assert owner.server.upload(owner.ids["1.0.0"], both,
                               f"firmware?verify_key={keys[1].id}").json["embedded_key"] == keys[1].id
    assert owner.draft("1.0.1", esp8266.arduino(owner.name, "1.0.1", more=keys[0].pem.encode()),
                       verify_key=keys[3].register(owner.server, owner.name).id).status == 422


# ---- epochs ----

def rotation(owner, keys):
    """1.0.0 has key 1; 1.1.0 brings key 2, 1.2.0 is signed with it; 1.3.0 brings key 3, 1.4.0 is signed with it."""
    for key in keys[:3]:
        key.register(owner.server, owner.name)
    plan = [("1.0.0", 0, 0), ("1.1.0", 0, 1), ("1.2.0", 1, 1), ("1.3.0", 1, 2), ("1.4.0", 2, 2)]
    images = {v: arduino.image(owner.name, v, keys[inside]) for v, _, inside in plan}
    for version, signer, _ in plan:
        owner.publish(version, keys[signer].signed(images[version]))
    return images


def test_no_release_that_brings_a_key_is_left_out(owner, keys):
    images = rotation(owner, keys)
    device = plug(owner, images["1.0.0"])
    seen = []
    for _ in range(5):
        status, _, body, _ = device.raw()
        if status == 304:
            break
        version = next(v for v, image in images.items() if body.startswith(image))
        seen.append(version)
        device.image = images[version]
    assert seen == ["1.1.0", "1.3.0", "1.4.0"]


def test_what_cuts_devices_off_is_refused_with_their_names(owner, keys):
    images = rotation(owner, keys)
    devices = [plug(owner, images["1.0.0"]) for _ in range(7)]
    fine = plug(owner, images["1.4.0"])
    for device in [*devices, fine]:
        device.raw()
    owner.server.call("PATCH", f"/devices/{devices[0].mac}", {"name": "cellar"})
    reply = owner.act("1.1.0", "withdraw")
    assert reply.status == 409 and reply.json["code"] == "release-strands", reply.body
    assert "7 devices" in reply.json["detail"] and "cellar" in reply.json["detail"]
    assert {e["pointer"] for e in reply.json["errors"]} == {f"/devices/{d.mac}" for d in devices}
    listed = owner.server.rest("GET", f"/releases/{owner.ids['1.1.0']}/strands?verb=withdraw")
    assert listed["total"]["value"] == 7 and {d["id"] for d in listed["items"]} == {d.mac for d in devices}
    assert owner.act("1.1.0", "withdraw", strand_anyway="they are on the desk").status == 200
    late = plug(owner, images["1.0.0"])
    assert late.raw()[0] == 304
    assert why(late) == "1.4.0 needs 1.1.0 first, which brings signing key 2; 1.1.0 is withdrawn."
    events = owner.server.rest("GET", "/events?limit=1000")["items"]
    told = [e for e in events if e["type"] == "release.strands" and e["data"]["release"] == owner.ids["1.1.0"]]
    assert len(told) == 1 and told[0]["data"]["devices"] == 7


def test_publishing_past_the_bridge_is_refused(owner, keys):
    for key in keys[:2]:
        key.register(owner.server, owner.name)
    old = arduino.image(owner.name, "1.0.0", keys[0])
    owner.publish("1.0.0", keys[0].signed(old))
    plug(owner, old).raw()
    new = arduino.image(owner.name, "2.0.0", keys[1])
    assert owner.draft("2.0.0", keys[1].signed(new)).status == 201
    reply = owner.act("2.0.0", "publish")
    assert reply.status == 409 and "1 device" in reply.json["detail"]
    owner.publish("2.0.1", keys[0].signed(arduino.image(owner.name, "2.0.1", keys[1])))


# ---- row 16: detached signatures ----

def post_signature(owner, version, sig, name="firmware"):
    return owner.server.call("POST", f"/releases/{owner.ids[version]}/images/{name}/signatures", sig,
                             {"Content-Type": "application/octet-stream"})


@pytest.mark.parametrize("ec", [False, True])
def test_a_device_installs_what_openssl_signed_and_nothing_else(server, ec, tmp_path):
    owner = Owner(server, f"det-{'ec' if ec else 'rsa'}")
    key = arduino.Key(tmp_path, "lab", 4096, ec).register(server, owner.name)
    image = esp8266.arduino(owner.name, "1.0.0")
    assert owner.draft("1.0.0", image).status == 201
    sig = key.detached(image)
    flipped = bytes([sig[0], sig[1], sig[2], sig[3], sig[4], sig[5] ^ 1]) + sig[6:]
    refused = post_signature(owner, "1.0.0", flipped)
    assert refused.status == 422 and refused.json["code"] == "signature-refused"
    assert post_signature(owner, "1.0.0", sig).json["key"] == key.id
    assert owner.act("1.0.0", "publish").status == 200
    assert owner.server.rest("GET", f"/releases/{owner.ids['1.0.0']}")["images"][0]["signatures"] == 1
