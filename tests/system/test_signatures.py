"""Signatures of the old world: Arduino's trailers, detached signatures, keys inside images (docs/spec/legacy-signatures.md)."""

import gzip
import hashlib
import os
import pathlib
import subprocess

import pytest

import arduino
import cborish
import esp8266
import flipping
import signing
from conftest import BUILD
from test_native import check_body

CBOR = {"Content-Type": "application/cbor"}

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
    assert owner.server.rest("GET", f"/devices/{device.mac}")["verify_key"] == keys[2].id


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


def fetch_and_install(device, digest, public, slot, front=None):
    """tests/support/signed_device.c: its exit status."""
    server = device.server
    url = f"https://localhost:{front or server.ports['device']}/v1/blob/{digest}"
    done = subprocess.run([str(BUILD / "signed_device"), url, str(server.data / "ca" / "root.pem"), device.cert_file,
                           device.key_file, str(public), str(slot)], capture_output=True, text=True, timeout=60,
                          check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("ec", [False, True])
def test_a_device_installs_what_openssl_signed_and_refuses_a_flipped_bit(server, ec, tmp_path):
    posix = pathlib.Path("/bin/true").read_bytes()  # an image of the posix chip is a program
    owner = signing.Publisher(server, f"det-{'ec' if ec else 'rsa'}", hardware=("posix",))
    key = arduino.Key(tmp_path, "lab", 4096, ec).register(server, owner.name)
    other = arduino.Key(tmp_path, "other", 4096, ec)
    device = server.enroll(owner.name, f"84f3eb1600{int(ec):02x}")
    slot = tmp_path / "slot"
    draft = owner.draft("1.0.0", posix)
    path = f"/releases/{draft['id']}/images/firmware/signatures"
    raw = {"Content-Type": "application/octet-stream"}

    sig = key.detached(posix)
    flipped = sig[:40] + bytes([sig[40] ^ 1]) + sig[41:]
    for bad in (flipped, other.detached(posix), key.detached(posix[:-1]), b""):
        refused = server.call("POST", path, bad, raw)
        assert refused.status == 422 and refused.json["code"] == "signature-refused", refused.body
    assert server.call("POST", path, sig, raw).json["key"] == key.id
    assert server.rest("GET", path)["items"][0]["signature"] == sig.hex()
    assert server.call("POST", f"/releases/{draft['id']}:publish", {}).status == 200

    digest = hashlib.sha256(posix).hexdigest()
    assert device.request("GET", f"/v1/blob/{digest}/sig").status == 404  # not offered yet
    offer = cborish.loads(device.request("POST", "/v1/check", check_body(), CBOR).body)
    assert device.request("GET", f"/v1/blob/{digest}/sig").body == sig
    assert fetch_and_install(device, digest, other.public, slot)[0] == 3 and not slot.exists()

    with flipping.Front(server, device, flip=len(posix) // 2) as front:
        code, said = fetch_and_install(device, digest, key.public, slot, front.port)
    assert code == 3 and "refused" in said and not slot.exists(), (code, said)

    assert fetch_and_install(device, digest, key.public, slot) == (0, "")
    assert slot.read_bytes() == posix
    manifest = hashlib.sha256(offer[2]).digest()
    for seq, state, running in ((1, 4, bytes(32)), (2, 5, bytes.fromhex(digest))):
        report = cborish.dumps({1: offer[1], 2: state, 3: 100, 6: manifest, 7: running, 8: seq})
        assert device.request("POST", "/v1/report", report, CBOR).status == 204
    assert server.rest("GET", f"/devices/{device.id}")["action"]["state"] == "confirmed"


# ---- the command line ----

class Cli:
    """pagurus with a folder of its own, signed in as admin."""

    def __init__(self, server, folder):
        token = folder / "token"
        token.write_text(server.token)
        token.chmod(0o600)
        secret = folder / "secret"
        secret.write_text("correct horse battery staple")
        secret.chmod(0o600)
        self.secret = ["--passphrase-file", str(secret)]
        self.env = dict(os.environ, HOME=str(folder), XDG_CONFIG_HOME=str(folder / "config"),
                        PAGURUS_SERVER=f"https://localhost:{server.ports['console']}",
                        PAGURUS_CA=str(server.data / "ca" / "root.pem"), PAGURUS_TOKEN_FILE=str(token))

    def __call__(self, *words, want=0):
        done = subprocess.run([str(BUILD / "pagurus"), *words, "--no-input"], env=self.env, capture_output=True,
                              text=True, timeout=60, check=False)
        assert done.returncode == want, (words, done.returncode, done.stdout, done.stderr)
        return done


def test_keys_signatures_and_warnings_by_command_line(owner, tmp_path):
    cli = Cli(owner.server, tmp_path)
    for name in ("home-1", "home-2"):
        cli("key", "create", name, "--rsa", "2048", "--register", "--product", owner.name, *cli.secret)
    private = (tmp_path / "config/pagurus/keys/home-1.pem").read_text()
    assert "ENCRYPTED" in private
    pem = {name: cli("key", "public", name).stdout for name in ("home-1", "home-2")}
    header = cli("key", "public", "--arduino", "home-1").stdout
    assert pem["home-1"] in header and "BearSSL::SigningVerifier" in header and "Update.installSignature" in header
    assert {k["name"]: k["product"] for k in owner.server.rest("GET", "/keys")["items"]
            if k["product"] == owner.name}.keys() == {"home-1", "home-2"}

    def build(version, key):
        plain = esp8266.arduino(owner.name, version, more=pem[key].encode())
        file = tmp_path / f"{version}.bin"
        file.write_bytes(plain)
        return plain, str(file)

    old, file = build("1.0.0", "home-1")
    cli("release", "push", file, "--product", owner.name, "--arduino-key", "home-1", "--detach", "home-2", *cli.secret)
    device = plug(owner, esp8266.arduino(owner.name, "0.9.0"))
    status, _, body, _ = device.raw()
    assert status == 200 and body.startswith(old) and len(body) == len(old) + 260
    (tmp_path / "home-1.pub").write_text(pem["home-1"])
    (tmp_path / "trailer.sig").write_bytes(body[-260:-4])
    arduino.openssl("dgst", "-sha256", "-verify", str(tmp_path / "home-1.pub"), "-signature",
                    str(tmp_path / "trailer.sig"), stdin=old)
    device.image = old
    assert device.raw()[0] == 304
    held = owner.server.rest("GET", f"/devices/{device.mac}")["verify_key"]
    assert any(line.split()[:2] == ["verify", "key"] and held in line for line in cli("device", "show", device.mac).stdout.splitlines())
    shown = owner.server.rest("GET", f"/releases?product={owner.name}")["items"][0]["images"][0]
    assert shown["signed_by"] == shown["embedded_key"] and shown["signatures"] == 1

    _, file = build("2.0.0", "home-2")
    refused = cli("release", "push", file, "--product", owner.name, "--arduino-key", "home-2", *cli.secret, want=5)
    assert device.mac in refused.stderr and "--strand-anyway" in refused.stderr
    new, file = build("2.0.1", "home-2")
    cli("release", "push", file, "--product", owner.name, "--arduino-key", "home-1", *cli.secret)
    assert device.raw()[2].startswith(new)
    twice = tmp_path / "twice.bin"
    twice.write_bytes(body)
    assert "signed already" in cli("release", "push", str(twice), "--product", owner.name, "--arduino-key", "home-1",
                                   "--version", "1.0.0", *cli.secret, want=2).stderr


def test_what_is_signed_already_needs_no_trust_set(owner, keys, tmp_path):
    cli = Cli(owner.server, tmp_path)
    keys[0].register(owner.server, owner.name)
    behind, beside = tmp_path / "behind.bin", tmp_path / "beside.bin"
    behind.write_bytes(keys[0].signed(esp8266.arduino(owner.name, "1.0.0")))
    beside.write_bytes(esp8266.arduino(owner.name, "1.1.0"))
    (tmp_path / "beside.sig").write_bytes(keys[0].detached(beside.read_bytes()))
    cli("release", "push", str(behind), "--product", owner.name)
    cli("release", "push", str(beside), "--product", owner.name, "--signature", str(tmp_path / "beside.sig"))
    releases = {r["version"]: r for r in owner.server.rest("GET", f"/releases?product={owner.name}")["items"]}
    assert {v: r["state"] for v, r in releases.items()} == {"1.0.0": "published", "1.1.0": "published"}
    assert releases["1.0.0"]["images"][0]["signed_by"] == keys[0].id and releases["1.1.0"]["images"][0]["signatures"] == 1
    beside.write_bytes(esp8266.arduino(owner.name, "1.2.0"))
    refused = cli("release", "push", str(beside), "--product", owner.name, want=4)
    assert "no trust set" in refused.stderr


# ---- other ways and forms ----

def test_the_signature_lies_beside_a_named_file(owner, keys):
    keys[0].register(owner.server, owner.name)
    image = esp8266.arduino(owner.name, "1.0.0")
    assert owner.draft("1.0.0", image, file="plug.bin").status == 201
    path = f"/sig/{owner.name}"
    assert owner.server.call("POST", f"/products/{owner.name}/mounts", {"path": path, "kind": "files"}).status == 201
    sig = keys[0].detached(image)
    device = plug(owner, esp8266.arduino(owner.name, "0.9.0"))
    get = lambda name: owner.server.plain_request("GET", f"{path}/{device.mac}/{name}")  # noqa: E731
    assert owner.act("1.0.0", "publish").status == 200
    assert (get("plug.bin").body, get("plug.bin.sig").status) == (image, 404)
    assert post_signature(owner, "1.0.0", sig).status == 201
    assert get("plug.bin.sig").body == sig
    assert keys[0].verifies(keys[0].private.parent, get("plug.bin").body, get("plug.bin.sig").body)


def test_core_2_5_gets_the_form_that_it_checks_and_others_theirs(owner, keys):
    keys[0].register(owner.server, owner.name)
    old = {core: arduino.image(owner.name, f"1.0.{core[2]}", keys[0]) for core in ("2.5.2", "2.7.4")}
    for core, image in old.items():
        owner.publish(f"1.0.{core[2]}", keys[0].signed(image), core=core)
    new = arduino.image(owner.name, "2.0.0", keys[0])
    assert owner.draft("2.0.0", keys[0].signed(new)).status == 201
    devices = {core: plug(owner, image) for core, image in old.items()}
    assert owner.act("2.0.0", "publish").status == 200
    assert devices["2.7.4"].raw()[2] == keys[0].signed(new)
    assert devices["2.5.2"].raw()[0] == 304 and "core 2.5" in why(devices["2.5.2"])
    newer = arduino.image(owner.name, "2.0.1", keys[0])
    assert owner.draft("2.0.1", keys[0].signed(newer)).status == 201
    legacy = keys[0].signed(newer, legacy=True)
    assert owner.server.upload(owner.ids["2.0.1"], legacy, "firmware-legacy").status == 201
    assert owner.act("2.0.1", "publish").status == 200
    assert devices["2.5.2"].raw()[2] == legacy


def test_what_is_known_by_its_version_text_alone_goes_through_every_key(owner, keys):
    images = rotation(owner, keys)
    device = plug(owner, esp8266.arduino(owner.name, "0.0.1"), "1.0.0")
    device.headers = lambda mode="sketch", of=device.headers: [p for p in of(mode) if "md5" not in p[0]]
    seen = []
    for _ in range(5):
        status, _, body, _ = device.raw()
        if status == 304:
            break
        device.version = next(v for v, image in images.items() if body.startswith(image))
        seen.append(device.version)
    assert seen == ["1.1.0", "1.3.0", "1.4.0"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_images_that_came_before_their_key_are_read_again(owner, tmp_path, packed, legacy):
    key = arduino.Key(tmp_path, f"late-{packed}-{legacy}")
    plain = arduino.image(owner.name, "1.0.0", key)
    shown = owner.publish("1.0.0", key.signed(gzip.compress(plain) if packed else plain, legacy))
    strange = owner.publish("1.1.0", arduino.Key(tmp_path, "strange").signed(esp8266.arduino(owner.name, "1.1.0")))
    assert shown["signed_by"] is None and strange["signed_by"] is None
    key.register(owner.server, owner.name)
    first, second = (owner.server.rest("GET", f"/releases/{owner.ids[v]}")["images"][0] for v in ("1.0.0", "1.1.0"))
    assert first["signed_by"] == first["embedded_key"] == key.id
    assert first["trailer_form"] == ("legacy" if legacy else "standard")
    assert second["signed_by"] is None


def test_a_key_for_all_products_reads_images_of_all_again(owner, tmp_path):
    key = arduino.Key(tmp_path, "all-late")
    owner.publish("1.0.0", key.signed(esp8266.arduino(owner.name, "1.0.0")))
    key.register(owner.server)
    assert owner.server.rest("GET", f"/releases/{owner.ids['1.0.0']}")["images"][0]["signed_by"] == key.id
