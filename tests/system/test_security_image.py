"""Images and manifests that must not pass; M.., H.. and P10 are rows of docs/spec/security-tests.md."""

import gzip
import hashlib
import os
import random
import resource
import socket
import struct
import threading
import time
import zlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import attacks
import cborish
import esp8266
import signing
from attacks import CBOR, COSE
from test_native import check_body

TRUE = open("/bin/true", "rb").read()
MAX = 2 << 20


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", f"limits.image={MAX}").start()


@pytest.fixture(scope="module")
def owner(server):
    return signing.Publisher(server, "meter")


@pytest.fixture(scope="module")
def plug(server):
    return signing.Publisher(server, "plug", "esp8266", ("d1mini",))


@pytest.fixture(scope="module")
def draft(server, plug):
    """A draft of the ESP8266 product without an image; whatever is refused leaves it so."""
    release = server.rest("POST", "/releases", {"product": "plug", "version": "1.0.0"})
    yield release
    assert server.rest("GET", f"/releases/{release['id']}")["images"] == []


def sketch(product="plug", version="1.0.0", **other):
    return esp8266.arduino(product, version, **other)


def refused(reply, status, code, *words):
    """The operator is told what was wrong and what to do."""
    assert reply.status == status, (reply.status, reply.body[:300])
    body = reply.json
    assert body["code"] == code and body["detail"] and body["help"] and body["request_id"], body
    text = (body["detail"] + str(body.get("errors", ""))).lower()
    assert all(w in text for w in words), (words, text)


# ---- bytes that are no image -------------------------------------------------------------------------------


def test_p4_an_image_cut_anywhere_is_refused(server, draft):
    image = sketch()
    points = sorted({*range(1, 64), *range(0x1000 - 8, 0x1000 + 40), *range(0x1040, len(image), len(image) // 60),
                     *range(len(image) - 20, len(image))})
    assert len(points) > 150
    for n in points:
        refused(server.upload(draft["id"], image[:n]), 422, "image-refused")


def test_p4_a_program_cut_anywhere_is_refused(server, owner):
    release = server.rest("POST", "/releases", {"product": "meter", "version": "0.0.1"})
    loads = [struct.unpack_from("<QQ", TRUE, 64 + 56 * i + 8)[0] + struct.unpack_from("<Q", TRUE, 64 + 56 * i + 32)[0]
             for i in range(struct.unpack_from("<H", TRUE, 56)[0]) if struct.unpack_from("<I", TRUE, 64 + 56 * i)[0] == 1]
    end = max(loads)
    for n in [*range(1, 130), *range(130, end, end // 40), end - 1]:
        refused(server.upload(release["id"], TRUE[:n]), 422, "image-refused")


def test_p4_any_bit_of_the_program_that_is_flipped_is_noticed(server, draft):
    seed = int(os.environ.get("PAG_SEED", random.randrange(1 << 30)))
    print("PAG_SEED", seed)
    rng = random.Random(seed)
    image = sketch()
    for _ in range(150):
        bad = bytearray(image)
        bad[rng.randrange(0x1008 + 8 + 40, len(image) - 16)] ^= 1 << rng.randrange(8)
        refused(server.upload(draft["id"], bytes(bad)), 422, "image-refused")


WRONG = {
    "one byte": b"\xe9", "text": b"hello world\n" * 100, "zeros": bytes(5000), "erased flash": b"\xff" * 5000,
    "old boot format": b"\xea" + sketch()[1:], "a script": b"#!/bin/sh\nreboot\n", "a zip": b"PK\x03\x04" + bytes(3000),
    "a page": b"<html><script>alert(1)</script></html>", "no segments": b"\xe9\x00\x02\x40" + bytes(60),
    "255 segments": b"\xe9\xff\x02\x40" + bytes(3000), "a segment of 4 GB": b"\xe9\x01\x02\x40" + bytes(4) + b"\0\0\x10\x40" +
    b"\xff\xff\xff\xff" + bytes(100), "bytes behind": sketch() + b"\0" * 7, "two behind each other": sketch() + sketch(),
    "a random blob": random.Random(1).randbytes(20000), "two identities": sketch()[:0x1000] + esp8266._image(
        [(0x40100000, bytes(32)), (0x40201010, esp8266.identity("plug", "1.0.0") * 2)], 2, 0x40, 0x40100000),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_p4_what_is_no_image_is_refused(server, draft, name):
    refused(server.upload(draft["id"], WRONG[name]), 422, "image-refused")


def test_p4_a_body_of_nothing_is_400(server, draft):
    refused(server.upload(draft["id"], b""), 400, "bad-request")
    refused(submit(server, draft, b""), 422, "manifest-refused")


FOREIGN = {
    "a program": (TRUE, "chip"), "another product": (sketch("meter"), "meter"),
    "another board": (sketch(hardware="nodemcu9"), "nodemcu9"), "another version": (sketch(version="9.9.9"), "9.9.9"),
}


@pytest.mark.parametrize("name", list(FOREIGN))
def test_m6_an_image_for_something_else_is_refused_with_the_difference(server, draft, name):
    image, word = FOREIGN[name]
    refused(server.upload(draft["id"], image), 422, "image-refused", word)


def test_m6_a_product_takes_its_own_chip_only(server):
    chips = ["esp8266", "esp32", "esp32-s2", "esp32-s3", "esp32-c3"]
    heads = {"esp32": 0, "esp32-s2": 2, "esp32-s3": 9, "esp32-c3": 5}

    def image(chip):
        if chip == "esp8266":
            return esp8266.arduino("x", "1.0.0", ident=False)
        head = struct.pack("<BBBBI", 0xE9, 1, 2, 0x20, 0x40080000) + bytes(4) + struct.pack("<H", heads[chip]) + bytes(10)
        data = struct.pack("<I", 0xABCD5432) + bytes(252)
        out = head + struct.pack("<II", 0x3F400020, len(data)) + data
        check = 0xEF
        for byte in data:
            check ^= byte
        return out + bytes(-(len(out) + 1) % 16) + bytes([check])

    for product in chips:
        server.product("chip-" + product, product, ("board",))
        for chip in chips:
            release = server.rest("POST", "/releases", {"product": "chip-" + product, "version": "1.0." + str(chips.index(chip))})
            reply = server.upload(release["id"], image(chip))
            if chip == product:
                assert reply.status == 201, (product, reply.body)
            else:
                refused(reply, 422, "image-refused")


def test_an_image_over_the_limit_is_413_and_one_over_the_slot_is_refused(server, draft):
    with attacks.connect(server, "console") as link:
        link.sendall(b"PUT /api/v1/releases/" + draft["id"].encode() + b"/images/firmware HTTP/1.1\r\nHost: a\r\nAuthorization: "
                     b"Bearer " + server.token.encode() + b"\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
        data, closed = attacks.read_all(link)
    assert data.startswith(b"HTTP/1.1 413 ") and closed
    server.rest("POST", "/products", {"name": "tiny", "chip": "esp8266", "hardware": ["d1mini"], "slot_bytes": 16384})
    release = server.rest("POST", "/releases", {"product": "tiny", "version": "1.0.0"})
    refused(server.upload(release["id"], sketch("tiny")), 422, "image-refused", "slot")
    server.rest("POST", "/products", {"name": "flat", "chip": "esp8266", "hardware": ["d1mini"], "flash_bytes": 1 << 20})
    release = server.rest("POST", "/releases", {"product": "flat", "version": "1.0.0"})
    refused(server.upload(release["id"], sketch("flat")), 422, "image-refused", "flash")


@pytest.mark.parametrize("name", ["%2e%2e", "..", "%2e%2e%2fx", "Firmware", "a" * 17, "a%20b", "%00", "a%0a", "%c3%a9", "*", "firmware%00"])
def test_h5_image_names_are_plain(server, draft, name):
    assert server.upload(draft["id"], sketch(), name).status in (400, 404, 422)


# ---- gzip --------------------------------------------------------------------------------------------------


def test_h14_a_bomb_is_refused_before_it_is_unpacked(server, draft):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    part = bytes(1 << 20)
    bomb = b"".join(packer.compress(part) for _ in range(1024)) + packer.flush()
    assert len(bomb) < MAX
    nested = gzip.compress(bomb[:8] + gzip.compress(bytes(50 << 20)))
    lying = bytearray(gzip.compress(sketch()))
    lying[-4:] = struct.pack("<I", 1)
    server.upload(draft["id"], b"\x1f\x8b" + bytes(500))
    before = attacks.resident_kb(server.process.pid)
    begin = time.monotonic()
    for bad in (bomb, bytes(nested), bytes(lying), gzip.compress(sketch())[:-9], gzip.compress(sketch()) + b"x",
                b"\x1f\x8b" + os.urandom(2000), gzip.compress(gzip.compress(sketch())), gzip.compress(b"")):
        refused(server.upload(draft["id"], bad), 422, "image-refused")
    assert time.monotonic() - begin < 3
    assert attacks.resident_kb(server.process.pid) - before < 32 << 10


def test_h14_an_encoded_request_is_415(server, draft):
    reply = server.call("PUT", f"/releases/{draft['id']}/images/firmware", gzip.compress(sketch()), {"Content-Encoding": "gzip"})
    assert reply.status == 415


# ---- private keys in images --------------------------------------------------------------------------------


def planted():
    curve, big = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    private, encoding, none = serialization.PrivateFormat, serialization.Encoding, serialization.NoEncryption()
    locked = serialization.BestAvailableEncryption(b"x")
    scalar = curve.private_numbers().private_value.to_bytes(32, "big")
    without_point = bytes.fromhex("3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420") + scalar
    assert serialization.load_der_private_key(without_point, None).private_numbers() == curve.private_numbers()
    return {
        "PKCS#8 PEM": curve.private_bytes(encoding.PEM, private.PKCS8, none),
        "SEC1 PEM": curve.private_bytes(encoding.PEM, private.TraditionalOpenSSL, none),
        "RSA PEM": big.private_bytes(encoding.PEM, private.TraditionalOpenSSL, none),
        "locked PEM": curve.private_bytes(encoding.PEM, private.PKCS8, locked),
        "OpenSSH": curve.private_bytes(encoding.PEM, private.OpenSSH, none),
        "PKCS#8 DER": curve.private_bytes(encoding.DER, private.PKCS8, none),
        "PKCS#8 DER without its point": without_point,
        "SEC1 DER": curve.private_bytes(encoding.DER, private.TraditionalOpenSSL, none),
        "RSA PKCS#8 DER": big.private_bytes(encoding.DER, private.PKCS8, none),
        "RSA PKCS#1 DER": big.private_bytes(encoding.DER, private.TraditionalOpenSSL, none),
    }


KEYS = ["PKCS#8 PEM", "SEC1 PEM", "RSA PEM", "locked PEM", "OpenSSH", "PKCS#8 DER", "PKCS#8 DER without its point", "SEC1 DER",
        "RSA PKCS#8 DER", "RSA PKCS#1 DER"]


def with_inside(secret):
    block = esp8266.identity("plug", "1.0.0") + b"\xa5" * 3001 + secret
    block += bytes(-len(block) % 4)
    first = esp8266._image([(0x4010F000, bytes(64))], 2, 0x40, 0x4010F000)
    return first + bytes(0x1000 - len(first)) + esp8266._image([(0x40100000, bytes(32)), (0x40201010, block)], 2, 0x40, 0x40100000)


@pytest.mark.parametrize("name", KEYS)
def test_p10_a_private_key_inside_an_image_is_refused(server, plug, owner, draft, name):
    secret = planted()[name]
    refused(server.upload(draft["id"], with_inside(secret)), 422, "private-key")
    refused(server.upload(draft["id"], gzip.compress(with_inside(secret))), 422, "private-key")
    refused(server.upload(draft["id"], b"fs" * 999 + secret, "filesystem"), 422, "private-key")
    program = server.rest("POST", "/releases", {"product": "meter", "version": "0.1." + str(KEYS.index(name))})
    refused(server.upload(program["id"], TRUE + secret), 422, "private-key")
    kept = b"".join(p.read_bytes() for p in server.data.rglob("*") if p.is_file() and p.parent.name not in ("ca", "tls", "keys"))
    assert secret[-40:-8] not in kept and secret[-40:-8] not in server.log.read_bytes()


def test_p10_public_keys_and_words_about_keys_are_fine(server, plug):
    public = signing.Key()
    words = public.pem.encode() + b"-----BEGIN EC PRIVATE KEY----- is what a parser looks for" + b"\x02\x01\x01\x04\x20" + bytes(50)
    release = server.rest("POST", "/releases", {"product": "plug", "version": "1.0.0-words"})
    block = with_inside(words).replace(esp8266.identity("plug", "1.0.0"), bytes(128))
    check = 0  # the identity is gone from the checksum too
    for byte in esp8266.identity("plug", "1.0.0"):
        check ^= byte
    image = block[:-1] + bytes([block[-1] ^ check])
    assert server.upload(release["id"], image).status == 201


# ---- manifests ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def target(server, owner):
    """(release with an image and no manifest, image)."""
    image = TRUE + b"target"
    release = owner.draft("1.0.0", image, signed=False)
    yield release, image
    shown = server.rest("GET", f"/releases/{release['id']}")
    assert all(i["signed_by"] is None for i in shown["images"]) and shown["state"] == "draft"


def submit(server, release, cose):
    return server.call("POST", f"/releases/{release['id']}/manifests", cose, COSE)


def good(owner, target, key=None, **other):
    release, image = target
    return signing.manifest(key or owner.key, owner.product_id, "posix", ("posix",), "1.0.0", release["sequence"], image, **other)


def wrapped(key, payload, protected=None, unprotected=None, tag=18, signed=None):
    protected = key.protected if protected is None else protected
    signature = key.sign("Signature1", payload) if signed is None else signed
    return cborish.dumps(cborish.Tag(tag, [protected, unprotected or {}, payload, signature]))


def test_m1_an_unsigned_release_is_not_published(server, target):
    refused(server.call("POST", f"/releases/{target[0]['id']}:publish"), 422, "release-refused", "manifest")


def test_m1_no_flipped_bit_of_a_manifest_passes(server, owner, target):
    cose = good(owner, target)
    jobs = []
    for at in range(len(cose)):
        bad = bytearray(cose)
        bad[at] ^= 1 << (at % 8)
        jobs.append(lambda bad=bytes(bad): submit(server, target[0], bad).status)
    assert set(attacks.in_parallel(jobs, 4)) == {422}


MANIFESTS = {
    "a stranger's key": lambda o, t: good(o, t, signing.Key()),
    "the root key": lambda o, t: good(o, t, o.root),
    "of another product": lambda o, t: signing.manifest(o.key, "00" * 8, "posix", ("posix",), "1.0.0", t[0]["sequence"], t[1]),
    "for another chip": lambda o, t: signing.manifest(o.key, o.product_id, "esp32", ("posix",), "1.0.0", t[0]["sequence"], t[1]),
    "for another board": lambda o, t: signing.manifest(o.key, o.product_id, "posix", ("toaster",), "1.0.0", t[0]["sequence"], t[1]),
    "for other bytes": lambda o, t: good(o, t, k11=bytes(32)), "for another size": lambda o, t: good(o, t, k12=1),
    "of another sequence": lambda o, t: good(o, t, k10=t[0]["sequence"] + 1),
    "of sequence 0": lambda o, t: good(o, t, k10=0), "of a huge sequence": lambda o, t: good(o, t, k10=2 ** 32),
    "of another version": lambda o, t: good(o, t, k7="1.0.1"), "of another image": lambda o, t: good(o, t, k6="loader"),
    "of kind filesystem": lambda o, t: good(o, t, k2=1), "of kind permit": lambda o, t: good(o, t, k2=6, k17=[9, 0], k15=2 ** 31),
    "of kind 9": lambda o, t: good(o, t, k2=9), "expired": lambda o, t: good(o, t, k14=1000, k15=2000),
    "ending before it begins": lambda o, t: good(o, t, k15=1000), "of format 2": lambda o, t: good(o, t, k1=2),
    "with an unknown field": lambda o, t: good(o, t, k40=1), "with a reserved field": lambda o, t: good(o, t, k23=b"x"),
    "with an unknown condition": lambda o, t: good(o, t, k16={99: 1}),
    "with an epoch over the limit": lambda o, t: good(o, t, k9=65537),
    "with blanks in the version": lambda o, t: good(o, t, k7="1.0.0 x"),
    "with no hardware": lambda o, t: good(o, t, k4=[]), "with five boards": lambda o, t: good(o, t, k4=[b"posix"] * 5),
    "over 512 bytes": lambda o, t: good(o, t, k70="x" * 400), "cut": lambda o, t: good(o, t)[:-1],
    "with a byte behind": lambda o, t: good(o, t) + b"\0", "twice": lambda o, t: good(o, t) * 2,
    "without its tag": lambda o, t: good(o, t)[1:], "with tag 17": lambda o, t: wrapped(o.key, payload_of(o, t), tag=17),
    "with a list of three": lambda o, t: b"\xd2\x83" + good(o, t)[2:],
    "of indefinite length": lambda o, t: b"\xd2\x9f" + good(o, t)[2:] + b"\xff",
    "with a long integer": lambda o, t: good(o, t).replace(b"\x01\x01\x02\x00", b"\x01\x18\x01\x02\x00", 1),
    "an unprotected algorithm": lambda o, t: wrapped(o.key, payload_of(o, t), unprotected={1: -7}),
    "an unprotected key": lambda o, t: wrapped(o.key, payload_of(o, t), unprotected={4: o.key.id}),
    "ES384": lambda o, t: wrapped(o.key, payload_of(o, t), cborish.dumps({1: -35, 4: o.key.id})),
    "HMAC": lambda o, t: wrapped(o.key, payload_of(o, t), cborish.dumps({1: 5, 4: o.key.id})),
    "no algorithm": lambda o, t: wrapped(o.key, payload_of(o, t), cborish.dumps({4: o.key.id})),
    "no protected header": lambda o, t: wrapped(o.key, payload_of(o, t), b""),
    "an empty signature": lambda o, t: wrapped(o.key, payload_of(o, t), signed=b""),
    "a zero signature": lambda o, t: wrapped(o.key, payload_of(o, t), signed=bytes(64)),
    "r and s of ones": lambda o, t: wrapped(o.key, payload_of(o, t), signed=b"\xff" * 64),
    "r of the order": lambda o, t: wrapped(o.key, payload_of(o, t), signed=bytes.fromhex(
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551") * 2),
    "the signature of a trust set": lambda o, t: wrapped(o.key, payload_of(o, t), signed=o.key.sign("Signature", payload_of(o, t))),
    "a trust set": lambda o, t: o.trust, "text": lambda o, t: b"{}",
}


def payload_of(owner, target):
    return cborish.loads(good(owner, target)).value[2]


@pytest.mark.parametrize("name", list(MANIFESTS))
def test_m1_m10_m11_m13_a_manifest_that_is_not_right_is_refused(server, owner, target, name):
    refused(submit(server, target[0], MANIFESTS[name](owner, target)), 422, "manifest-refused")


def test_m10_the_right_way_round_is_taken(server, owner):
    """So that the refusals above are of what they name."""
    image = TRUE + b"right"
    release = owner.draft("1.0.5", image, signed=False)
    cose = signing.manifest(owner.key, owner.product_id, "posix", ("posix",), "1.0.5", release["sequence"], image)
    again = wrapped(owner.key, cborish.loads(cose).value[2])
    assert submit(server, release, again).status == 201


def test_m5_a_manifest_of_another_release_or_product_is_refused(server, owner, target):
    other_image = TRUE + b"other"
    other = owner.draft("1.0.1", other_image, signed=False)
    cose = signing.manifest(owner.key, owner.product_id, "posix", ("posix",), "1.0.1", other["sequence"], other_image)
    assert submit(server, other, cose).status == 201
    refused(submit(server, target[0], cose), 422, "manifest-refused")
    twin = signing.Publisher(server, "twin")
    release = twin.draft("1.0.0", target[1], signed=False)
    refused(submit(server, release, good(owner, (release, target[1]))), 422, "manifest-refused")
    named = signing.manifest(owner.key, twin.product_id, "posix", ("posix",), "1.0.0", release["sequence"], target[1])
    refused(submit(server, release, named), 422, "manifest-refused")


def test_a_manifest_over_4_kib_is_413_and_of_another_type_415(server, target):
    assert submit(server, target[0], bytes(5000)).status == 413
    assert server.call("POST", f"/releases/{target[0]['id']}/manifests", b"x", {"Content-Type": "text/plain"}).status == 415


def test_m2_what_is_older_is_not_published_over_what_is_newer(server):
    owner = signing.Publisher(server, "older")
    first = owner.draft("1.0.0", TRUE + b"1")
    second = owner.draft("2.0.0", TRUE + b"2")
    server.rest("POST", f"/releases/{second['id']}:publish")
    refused(server.call("POST", f"/releases/{first['id']}:publish"), 422, "release-refused")
    third = owner.draft("1.5.0", TRUE + b"3")
    refused(server.call("POST", f"/releases/{third['id']}:publish"), 422, "release-refused", "not above")
    higher = owner.publish("3.0.0", TRUE + b"4", epoch=5)
    lower = owner.draft("4.0.0", TRUE + b"5", epoch=4)
    assert higher["epoch"] == 5
    refused(server.call("POST", f"/releases/{lower['id']}:publish"), 422, "release-refused", "epoch")


def test_m14_m16_trust_sets_go_forward_and_need_their_signers(server):
    owner = signing.Publisher(server, "roots")
    pid, old = owner.product_id, owner.trust

    def put(version, cose):
        return server.call("PUT", f"/products/roots/trust-sets/{version}", cose, COSE)

    thief, fresh = signing.Key(), signing.Key()
    bad = {
        "by the new root alone": signing.trust_set(pid, [fresh], [owner.key], 2, old, signers=[fresh]),
        "by the old root alone": signing.trust_set(pid, [fresh], [owner.key], 2, old, signers=[owner.root]),
        "by a release key": signing.trust_set(pid, [owner.root], [thief], 2, old, signers=[owner.key]),
        "by nobody": signing.trust_set(pid, [owner.root], [thief], 2, old, signers=[thief]),
        "version 1 again": signing.trust_set(pid, [owner.root], [thief], 1),
        "a version left out": signing.trust_set(pid, [owner.root], [thief], 3, old),
        "another past": signing.trust_set(pid, [owner.root], [thief], 2, b"x"),
        "another product": signing.trust_set("11" * 8, [owner.root], [thief], 2, old),
        "cut": signing.trust_set(pid, [owner.root], [thief], 2, old)[:-1],
    }
    for name, cose in bad.items():
        for version in (2, 3 if name == "a version left out" else 2):
            assert put(version, cose).status in (409, 422), name
    assert put(1, signing.trust_set(pid, [owner.root], [thief])).status in (409, 422)
    assert [t["version"] for t in server.rest("GET", "/products/roots/trust-sets")["items"]] == [1]
    both = signing.trust_set(pid, [fresh], [owner.key], 2, old, signers=[owner.root, fresh])
    assert put(2, both).status == 201
    assert put(1, old).status in (200, 201, 409, 422)
    assert server.rest("GET", "/products/roots")["trust_version"] == 2


# ---- races and cuts ----------------------------------------------------------------------------------------


def test_h18_fifty_uploads_of_one_image_are_one_image(server, owner):
    release = server.rest("POST", "/releases", {"product": "meter", "version": "2.0.0"})
    image = TRUE + b"race" * 30000
    replies = attacks.in_parallel([lambda: server.upload(release["id"], image)] * 50, 16)
    assert {r.status for r in replies} <= {200, 201}
    assert len({r.json["id"] for r in replies}) == 1
    assert len(server.rest("GET", f"/releases/{release['id']}")["images"]) == 1
    assert server.call("GET", f"/releases/{release['id']}/images/firmware").body == image


def test_h18_of_different_images_of_one_name_one_wins(server, owner):
    release = server.rest("POST", "/releases", {"product": "meter", "version": "2.0.1"})
    images = [TRUE + b"%03d" % i for i in range(20)]
    replies = attacks.in_parallel([lambda i=i: server.upload(release["id"], i) for i in images], 10)
    assert sorted(r.status for r in replies) == [201] + [409] * 19
    winner = images[[r.status for r in replies].index(201)]
    assert server.call("GET", f"/releases/{release['id']}/images/firmware").body == winner


def files(server):
    return {p for p in server.data.rglob("*") if p.is_file() and not p.name.startswith("pagurus.db")}


def test_h18_an_upload_cut_in_the_middle_leaves_nothing(server, owner):
    release = server.rest("POST", "/releases", {"product": "meter", "version": "2.0.2"})
    image = TRUE + b"cut" * 100000
    before = files(server)
    head = (f"PUT /api/v1/releases/{release['id']}/images/firmware HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {server.token}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(image)}\r\n\r\n").encode()
    for n in [0, 1, 4095, 4096, 65536, len(image) // 2, len(image) - 1]:
        for rst in (False, True):
            link = attacks.connect(server, "console")
            link.sendall(head + image[:n])
            if rst:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.close()
    server.until(lambda: attacks.metric(server, 'pagurus_http_connections{listener="console"}') <= 1)
    assert server.rest("GET", f"/releases/{release['id']}")["images"] == []
    assert server.call("GET", f"/releases/{release['id']}/images/firmware").status == 404
    assert files(server) == before
    wrong = server.call("PUT", f"/releases/{release['id']}/images/firmware", image,
                        {"Repr-Digest": "sha-256=:" + "A" * 43 + "=:", "Content-Type": "application/octet-stream"})
    assert wrong.status == 422 and files(server) == before
    for digest in ("sha-256=:!:", "sha-256=x", "sha-256=::", "sha-256=", "sha-256=:" + "A" * 44 + ":"):
        reply = server.call("PUT", f"/releases/{release['id']}/images/firmware", image,
                            {"Repr-Digest": digest, "Content-Type": "application/octet-stream"})
        assert reply.status in (400, 422), (digest, reply.status)
    assert files(server) == before


# ---- a full disk -------------------------------------------------------------------------------------------


def test_p12_a_full_disk_is_507_and_devices_are_served_on(make_server):
    server = make_server("mqtt.mode=off").start()
    owner = signing.Publisher(server, "meter")
    small = TRUE + b"small"
    device = server.enroll("meter", "84f3eb110001")
    owner.publish("1.0.0", small)
    big = server.rest("POST", "/releases", {"product": "meter", "version": "2.0.0"})
    pid, room = server.process.pid, resource.getrlimit(resource.RLIMIT_FSIZE)
    before = files(server)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, room[1]))
    stop, statuses = threading.Event(), set()

    def poll():
        while not stop.is_set():
            statuses.add(device.request("POST", "/v1/check", check_body(), CBOR).status)

    polling = threading.Thread(target=poll)
    polling.start()
    try:
        for _ in range(5):
            reply = server.upload(big["id"], TRUE + bytes(3 << 20))
            assert reply.status == 507, (reply.status, reply.body)
            assert b"disk full" in reply.body
    finally:
        stop.set()
        polling.join()
    assert statuses == {200}
    offer = cborish.loads(device.request("POST", "/v1/check", check_body(), CBOR).body)
    assert device.request("GET", "/v1/blob/" + hashlib.sha256(small).hexdigest()).body == small and offer[2]
    assert files(server) == before
    resource.prlimit(pid, resource.RLIMIT_FSIZE, room)
    assert server.upload(big["id"], TRUE + bytes(3 << 20)).status == 201
    server.stop()


def test_m12_a_file_changed_behind_the_servers_back_is_not_installable(server):
    """The store trusts its disk; the device does not: its hash comes from the signed manifest."""
    owner = signing.Publisher(server, "disk")
    image = TRUE + b"disk"
    owner.publish("1.0.0", image)
    device = server.enroll("disk", "84f3eb110002")
    offer = cborish.loads(device.request("POST", "/v1/check", check_body(), CBOR).body)
    digest = hashlib.sha256(image).digest()
    blob = next(p for p in files(server) if digest.hex()[4:] in p.name or p.name == digest.hex())
    blob.chmod(0o600)
    blob.write_bytes(image[:-1] + b"X")
    got = device.request("GET", "/v1/blob/" + digest.hex())
    assert cborish.loads(cborish.loads(offer[2]).value[2])[11] == digest
    assert got.status != 200 or hashlib.sha256(got.body).digest() != digest
