#!/usr/bin/env python3
"""Writes the vector files of this folder. Standard library only; same input, same bytes.

    python3 tests/vectors/make_vectors.py

The keys are for tests and published here on purpose. Signatures use a nonce derived from key and digest, so
that a new run gives no diff.
"""
import hashlib
import json
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).parent

# ---- P-256, for signing test objects only ----
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    if a == b:
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P) % P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P) % P
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(k, point=G):
    out = None
    while k:
        if k & 1:
            out = add(out, point)
        point = add(point, point)
        k >>= 1
    return out


class Key:
    def __init__(self, name):
        self.d = int.from_bytes(hashlib.sha256(b"pagurus test key " + name.encode()).digest(), "big") % N
        x, y = multiply(self.d)
        self.point = x.to_bytes(32, "big") + y.to_bytes(32, "big")
        spki = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004") + self.point
        self.id = hashlib.sha256(spki).digest()[:8]

    def sign(self, message):
        digest = hashlib.sha256(message).digest()
        k = int.from_bytes(hashlib.sha256(self.d.to_bytes(32, "big") + digest).digest(), "big") % N
        r = multiply(k)[0] % N
        s = pow(k, -1, N) * (int.from_bytes(digest, "big") + r * self.d) % N
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


# ---- CBOR ----
class Raw(bytes):
    """Bytes that are CBOR already."""


class Tag:
    def __init__(self, number, value):
        self.number, self.value = number, value


def head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * size:
            return bytes([major << 5 | info]) + value.to_bytes(size, "big")
    raise ValueError(value)


def cbor(v):
    if isinstance(v, Raw):
        return bytes(v)
    if isinstance(v, bool):
        return b"\xf5" if v else b"\xf4"
    if v is None:
        return b"\xf6"
    if isinstance(v, int):
        return head(0, v) if v >= 0 else head(1, -1 - v)
    if isinstance(v, bytes):
        return head(2, len(v)) + v
    if isinstance(v, str):
        return head(3, len(v.encode())) + v.encode()
    if isinstance(v, list):
        return head(4, len(v)) + b"".join(cbor(x) for x in v)
    if isinstance(v, dict):
        return head(5, len(v)) + b"".join(cbor(k) + cbor(x) for k, x in v.items())
    return head(6, v.number) + cbor(v.value)


def protected(key_id):
    return cbor({1: -7, 4: key_id})


def sign1(key, payload, **change):
    bucket = change.get("protected", protected(key.id))
    sig = key.sign(cbor(["Signature1", bucket, b"", payload]))
    return cbor(Tag(change.get("tag", 18), [bucket, change.get("unprotected", {}), payload, sig]))


def sign_many(keys, payload, order=True):
    keys = sorted(keys, key=lambda k: k.id) if order else keys
    signers = [[protected(k.id), {}, k.sign(cbor(["Signature", b"", protected(k.id), b"", payload]))] for k in keys]
    return cbor(Tag(98, [b"", {}, payload, signers]))


# ---- keys and objects ----
ROOT = [Key(f"root {i}") for i in range(4)]
RELEASE, DELTA, FRESH, OTHER, LATER = (Key(n) for n in ("release", "delta", "fresh", "other", "later"))
PRODUCT = bytes.fromhex("70616775727573f1")
DIGEST = hashlib.sha256(b"image of 1.8.2").digest()
HARDWARE = b"d1mini"


def entry(k):
    return [k.id, k.point]


def release_entry(k, kinds=0xFF, low=0, high=65536):
    return [k.id, k.point, kinds, low, high]


def by_id(entries):
    return sorted(entries, key=lambda e: e[0])


def trust_payload(version=1, roots=ROOT[:3], threshold=2, releases=None, previous=bytes(32), **change):
    releases = [release_entry(RELEASE)] if releases is None else releases
    fields = {1: 1, 2: version, 3: PRODUCT, 4: threshold, 5: by_id([entry(k) for k in roots]), 6: 1,
              7: by_id(releases), 8: [entry(DELTA)], 9: [entry(FRESH)], 10: 0, 11: previous}
    fields.update({int(k[1:]): v for k, v in change.items()})
    return cbor({k: v for k, v in sorted(fields.items()) if v is not None})


def manifest_fields(**change):
    fields = {1: 1, 2: 0, 3: PRODUCT, 4: [HARDWARE], 5: 1, 6: "firmware", 7: "1.8.2", 9: 2, 10: 10, 11: DIGEST,
              12: 409600, 14: 1760000000, 15: 0, 19: 1, 22: [0]}
    fields.update({int(k[1:]): v for k, v in change.items()})
    return {k: v for k, v in sorted(fields.items()) if v is not None}


def manifest(**change):
    return cbor(manifest_fields(**change))


FULL = dict(k4=[b"d1mini", b"nodemcu2", b"esp01-1m", b"0123456789abcdef"], k8=bytes(range(16)), k13=[
    [1, bytes(16), hashlib.sha256(b"wire").digest(), 20000]], k16={1: 30, 2: 20, 3: -80, 4: 1, 5: 1, 6: 60, 7: True},
    k17=[5, 1], k18=[["web", 3, 9]], k20=bytes(4), k21=hashlib.sha256(b"set").digest(), k22=[1, b"innerkey"])
PERMIT = dict(k2=6, k9=2, k10=8, k17=[10, 0], k15=1770000000)


def hexed(fields):
    names = {2: "kind", 3: "product", 5: "chip", 6: "image", 7: "version", 9: "epoch", 10: "sequence", 11: "digest",
             12: "size", 14: "issued_at", 15: "expires_at", 19: "trust_version_min"}
    return {n: (fields[k].hex() if isinstance(fields[k], bytes) else fields[k]) for k, n in names.items()}


def manifest_vectors():
    trust = sign_many(ROOT[:2], trust_payload())
    good = sign1(RELEASE, manifest())
    cases = []

    def case(name, data, parse, verify=None, fields=None):
        cases.append({"name": name, "hex": data.hex(), "parse": parse, "verify": verify or parse,
                      **({"fields": fields} if fields else {})})

    case("smallest useful manifest", good, "ok", fields=hexed(manifest_fields()))
    case("every field", sign1(RELEASE, manifest(**FULL)), "ok", fields=hexed(manifest_fields(**FULL)))
    case("rollback permit", sign1(RELEASE, manifest(**PERMIT)), "ok", fields=hexed(manifest_fields(**PERMIT)))
    case("unknown key 64 is skipped", sign1(RELEASE, manifest(k64="x")), "ok", fields=hexed(manifest_fields()))
    case("posix chip", sign1(RELEASE, manifest(k5=255)), "ok", fields=hexed(manifest_fields(k5=255)))
    case("largest sequence", sign1(RELEASE, manifest(k10=2**32 - 1)), "ok")
    case("signed by a key that is not listed", sign1(OTHER, manifest()), "ok", "signature")
    case("signed by the delta key", sign1(DELTA, manifest()), "ok", "signature")
    other = cbor(Tag(18, [protected(RELEASE.id), {}, manifest(), OTHER.sign(b"else")]))
    case("listed key id, signature of another key", other, "ok", "signature")
    case("signature of zeros", good[:-64] + bytes(64), "ok", "signature")
    case("signature r = n", good[:-64] + N.to_bytes(32, "big") + good[-32:], "ok", "signature")
    case("payload changed", good.replace(b"1.8.2", b"1.8.3"), "ok", "signature")
    case("another product", sign1(RELEASE, manifest(k3=bytes(8))), "ok", "product")
    # envelope
    case("empty input", b"", "short")
    case("no tag", good[1:], "syntax")
    case("tag of COSE_Sign", sign1(RELEASE, manifest(), tag=98), "syntax")
    case("unprotected map not empty", sign1(RELEASE, manifest(), unprotected={4: RELEASE.id}), "syntax")
    case("alg in the unprotected map", sign1(RELEASE, manifest(), protected=cbor({4: RELEASE.id}), unprotected={1: -7}),
         "unsupported")
    for alg, name in ((-35, "ES384"), (5, "HMAC"), (-8, "EdDSA")):
        case(f"alg {name}", sign1(RELEASE, manifest(), protected=cbor({1: alg, 4: RELEASE.id})), "unsupported")
    case("alg absent", sign1(RELEASE, manifest(), protected=cbor({4: RELEASE.id})), "unsupported")
    case("alg twice", sign1(RELEASE, manifest(), protected=b"\xa3\x01\x26\x01\x26" + cbor(4) + cbor(RELEASE.id)),
         "unsupported")
    case("key id of 7 bytes", sign1(RELEASE, manifest(), protected=cbor({1: -7, 4: RELEASE.id[:7]})), "unsupported")
    case("protected header in long form", sign1(RELEASE, manifest(), protected=b"\xa2\x01\x26\x18\x04\x48" + RELEASE.id),
         "unsupported")
    case("byte behind the object", good + b"\0", "syntax")
    case("last byte missing", good[:-1], "short")
    case("signature of 63 bytes", cbor(Tag(18, [protected(RELEASE.id), {}, manifest(), bytes(63)])), "range")
    case("payload is null", cbor(Tag(18, [protected(RELEASE.id), {}, None, bytes(64)])), "syntax")
    case("five members", cbor(Tag(18, [protected(RELEASE.id), {}, manifest(), bytes(64), 0])), "syntax")
    case("three members", cbor(Tag(18, [protected(RELEASE.id), {}, manifest()])), "syntax")
    case("array of indefinite length", b"\xd2\x9f" + good[2:] + b"\xff", "syntax")
    big = dict(FULL, k13=[[1, bytes(16), bytes([i]) * 32, 20000] for i in range(3)], k18=[["w" * 16, 3, 9], ["x" * 16, 3, 9]],
               k7="1" * 32)
    case("over 512 bytes", sign1(RELEASE, manifest(**big)), "range")
    # payload
    for key in manifest_fields():
        case(f"key {key} missing", sign1(RELEASE, manifest(**{f"k{key}": None})), "syntax")
    pairs = [cbor(k) + cbor(v) for k, v in manifest_fields().items()]
    body = b"".join(pairs)
    case("a key twice", sign1(RELEASE, head(5, len(pairs) + 1) + pairs[0] + body), "syntax")
    case("keys not ascending", sign1(RELEASE, head(5, len(pairs)) + pairs[1] + pairs[0] + b"".join(pairs[2:])), "syntax")
    case("text as key", sign1(RELEASE, head(5, len(pairs) + 1) + body + b"\x61a\x00"), "syntax")
    case("byte behind the payload", sign1(RELEASE, manifest() + b"\0"), "syntax")
    case("sequence in long form", sign1(RELEASE, manifest(k10=Raw(b"\x18\x0a"))), "syntax")
    case("sequence as float", sign1(RELEASE, manifest(k10=Raw(b"\xf9\x49\x00"))), "syntax")
    case("sequence as bignum", sign1(RELEASE, manifest(k10=Raw(b"\xc2\x41\x0a"))), "syntax")
    case("text of indefinite length", sign1(RELEASE, manifest(k7=Raw(b"\x7f\x651.8.2\xff"))), "syntax")
    for key, value, name, error in (
            (1, 2, "format 2", "unsupported"), (2, 8, "kind 8", "range"), (3, bytes(7), "product of 7 bytes", "range"),
            (4, [], "no hardware id", "range"), (4, [HARDWARE] * 5, "five hardware ids", "range"),
            (4, [b"abc"], "hardware id of 3 bytes", "range"), (4, [bytes(17)], "hardware id of 17 bytes", "range"),
            (5, 0, "chip 0", "range"), (5, 200, "chip 200", "range"), (6, "Firmware", "upper-case image name", "range"),
            (6, "", "empty image name", "range"), (6, "a" * 17, "image name of 17", "range"),
            (7, "1" * 33, "version of 33 bytes", "range"), (7, "1.8\n2", "line break in the version", "range"),
            (7, Raw(b"\x62\xc3\x28"), "version not UTF-8", "syntax"), (7, b"1.8.2", "version as bytes", "syntax"),
            (9, 65537, "epoch 65537", "range"), (10, 0, "sequence 0", "range"), (10, 2**32, "sequence 2^32", "range"),
            (10, -1, "negative sequence", "syntax"), (11, bytes(31), "digest of 31 bytes", "range"),
            (12, 0, "size 0", "range"), (12, 2**32, "size 2^32", "range"), (13, [], "empty transports", "range"),
            (13, [[4, bytes(16), bytes(32), 1]], "encoding 4", "range"),
            (13, [[0, bytes(16), bytes(32)]], "transport of three", "range"),
            (15, 1, "expires before issued", "range"), (16, {}, "empty conditions", "range"),
            (16, {8: 1}, "unknown condition", "unsupported"), (16, {1: 101}, "battery 101 %", "range"),
            (16, {3: 5}, "positive RSSI", "range"), (16, {7: False}, "external power false", "range"),
            (17, [1], "stepping stone of one", "range"), (18, [["web", 9, 3]], "dependency upside down", "range"),
            (20, bytes(5), "layout of 5 bytes", "range"), (22, [1], "inner scheme without key", "syntax"),
            (22, [0, bytes(8)], "inner key without scheme", "syntax"), (22, [4, bytes(8)], "inner scheme 4", "range"),
            (23, [0], "confidentiality, not known yet", "unsupported"), (24, 0, "unknown critical key", "unsupported")):
        case(name, sign1(RELEASE, manifest(**{f"k{key}": value})), error)
    case("permit that never expires", sign1(RELEASE, manifest(**dict(PERMIT, k15=0))), "range")
    case("permit that leads upwards", sign1(RELEASE, manifest(**dict(PERMIT, k17=[8, 0]))), "range")
    case("permit without origin", sign1(RELEASE, manifest(**dict(PERMIT, k17=None))), "range")
    # roles
    roles = sign_many(ROOT[:2], trust_payload(releases=[release_entry(RELEASE, kinds=1, low=0, high=1)]))
    return {"trust": trust.hex(), "cases": cases, "narrow": {
        "trust": roles.hex(), "cases": [
            {"name": "kind not in the role", "hex": sign1(RELEASE, manifest(k2=1, k9=1)).hex(), "verify": "signature"},
            {"name": "epoch above the key's range", "hex": good.hex(), "verify": "signature"},
            {"name": "kind and epoch in the role", "hex": sign1(RELEASE, manifest(k9=1)).hex(), "verify": "ok"}]}}


def trust_vectors():
    first = sign_many(ROOT[:2], trust_payload())
    link = hashlib.sha256(first).digest()
    moved = [ROOT[1], ROOT[2], ROOT[3]]
    cases = []

    def case(name, op, data, error, **more):
        cases.append({"name": name, "op": op, "hex": data.hex(), "error": error, **more})

    def after(name, data, error, **more):
        case(name, "next", data, error, old=first.hex(), **more)

    def second(**change):
        return trust_payload(**dict(dict(version=2, previous=link), **change))

    case("first, two of three", "first", first, "ok", pinned=link.hex(), version=1)
    case("first, three of three", "first", sign_many(ROOT[:3], trust_payload()), "ok", version=1)
    case("first, pinned to another", "first", first, "digest", pinned=bytes(32).hex())
    case("first, one signature", "first", sign_many(ROOT[:1], trust_payload()), "signature")
    case("first, same root twice", "first", sign_many([ROOT[0], ROOT[0]], trust_payload()), "syntax")
    case("first, signers not sorted", "first",
         sign_many(sorted(ROOT[:2], key=lambda k: k.id, reverse=True), trust_payload(), order=False), "syntax")
    case("first, stranger counts nothing", "first", sign_many([ROOT[0], OTHER], trust_payload()), "signature")
    fake = Key("root 1")
    fake.id = bytes(8)
    case("first, two ids with one point", "first", sign_many(
        ROOT[:2], trust_payload(k5=by_id([entry(ROOT[0]), entry(ROOT[1]), [bytes(8), ROOT[1].point]]))), "syntax")
    case("first, id that is not its point's", "first", sign_many(
        [ROOT[0], fake], trust_payload(k5=by_id([entry(ROOT[0]), [bytes(8), ROOT[1].point]]))), "digest")
    case("first, wrong signature of a listed root", "first", first[:-1] + bytes([first[-1] ^ 1]), "signature")
    after("next, two old and two new", sign_many([ROOT[1], ROOT[2]], second(roots=moved)), "ok", version=2)
    after("next, new threshold by new root", sign_many([ROOT[1], ROOT[2], ROOT[3]], second(roots=moved)), "ok", version=2)
    after("next, one old root only", sign_many([ROOT[2], ROOT[3]], second(roots=moved)), "signature")
    after("next, one new root only", sign_many([ROOT[0], ROOT[1]], second(roots=moved)), "signature")
    after("next, unsigned", sign_many([], second()), "signature")
    after("next, version 1 again", first, "stale")
    after("next, version 3", sign_many(ROOT[:2], second(version=3)), "range")
    after("next, follows another", sign_many(ROOT[:2], second(previous=bytes([1]) * 32)), "digest")
    after("next, another product", sign_many(ROOT[:2], second(k3=bytes(8))), "product")
    for name, change, error in (
            ("format 2", dict(k1=2), "unsupported"), ("version 0", dict(k2=0), "range"),
            ("threshold 0", dict(k4=0), "range"), ("threshold above the roots", dict(k4=4), "range"),
            ("six roots", dict(k5=by_id([entry(Key(f"r{i}")) for i in range(6)])), "range"),
            ("no roots", dict(k5=[]), "range"), ("release threshold 3", dict(k6=3), "range"),
            ("roots not sorted", dict(k5=by_id([entry(k) for k in ROOT[:3]])[::-1]), "syntax"),
            ("release key without role", dict(k7=[release_entry(RELEASE, kinds=0)]), "syntax"),
            ("role above 7", dict(k7=[release_entry(RELEASE, kinds=256)]), "range"),
            ("epochs upside down", dict(k7=[release_entry(RELEASE, low=5, high=4)]), "syntax"),
            ("point of 65 bytes", dict(k8=[[DELTA.id, b"\4" + DELTA.point]]), "range"),
            ("three delta keys", dict(k8=by_id([entry(k) for k in ROOT[:3]])), "range"),
            ("previous of version 1 not zero", dict(k11=bytes([1]) * 32), "syntax"),
            ("unknown critical key", dict(k12=0), "unsupported"), ("expiry missing", dict(k10=None), "syntax")):
        case("first, " + name, "first", sign_many(ROOT[:2], trust_payload(**change)), error)
    case("first, body with a protected header", "first", first.replace(b"\xd8\x62\x84\x40", b"\xd8\x62\x84\x41\xa0"), "range")
    case("first, byte behind", "first", first + b"\0", "syntax")
    case("first, cut off", "first", first[:-1], "short")

    nonce = bytes(range(16))
    fields = {1: 1, 2: 8, 3: PRODUCT, 4: nonce, 5: 1760000000, 6: 1, 7: 10, 8: 86400}
    tokens = []

    def token(name, data, error):
        tokens.append({"name": name, "hex": data.hex(), "nonce": nonce.hex(), "error": error})

    def token_of(key=FRESH, **change):
        changed = {**fields, **{int(k[1:]): v for k, v in change.items()}}
        return sign1(key, cbor({k: v for k, v in sorted(changed.items()) if v is not None}))

    token("token", token_of(), "ok")
    token("token by the release key", token_of(RELEASE), "signature")
    token("token for another nonce", token_of(k4=bytes(16)), "stale")
    token("token of another product", token_of(k3=bytes(8)), "product")
    token("token of a manifest's kind", token_of(k2=0), "unsupported")
    token("token with another key", token_of(k9=0), "range")
    token("token without validity", token_of(k8=None), "syntax")
    token("token valid for 8 days", token_of(k8=8 * 86400), "range")
    token("token cut off", token_of()[:-1], "short")
    return {"trust": first.hex(), "cases": cases, "tokens": tokens}


def command_vectors():
    """Signed commands: parsed, verified against a set, then judged by device "84f3eb000001" at a counter and a time."""
    keys = [release_entry(RELEASE), release_entry(LATER, low=3), release_entry(OTHER, kinds=0x7F)]
    trust = {"wide": sign_many(ROOT[:2], trust_payload(releases=keys)),
             "two": sign_many(ROOT[:2], trust_payload(releases=[release_entry(RELEASE), release_entry(LATER)], k6=2))}
    fields = {1: 1, 2: 7, 3: PRODUCT, 4: "84f3eb000001", 5: 8, 6: 1760000000, 7: 1760003600}
    cases = []

    def of(key=RELEASE, **change):
        changed = {**fields, **{int(k[1:]): v for k, v in change.items()}}
        return sign1(key, cbor({k: v for k, v in sorted(changed.items()) if v is not None}))

    def case(name, error, data=None, **more):
        cases.append({"name": name, "error": error, "hex": (of() if data is None else data).hex(), "set": "wide",
                      "epoch": 2, "counter": 1759999999, "now": 1760000001, **more})

    case("wipe", "ok")
    case("reset", "ok", of(k5=7))
    case("re-enroll without a claim", "ok", of(k5=9))
    case("re-enroll with a claim", "ok", of(k5=9, k8=b"ABCD-EFGH"))
    case("the longest", "ok", of(k4="a" * 64, k5=9, k7=2**63, k8=b"c" * 64), device="a" * 64)
    case("its last second", "ok", now=1760003600)
    case("a second late", "expired", now=1760003601)
    case("no clock", "ok", now=0)
    case("counter as the last", "stale", counter=1760000000)
    case("counter below the last", "stale", counter=2**32 - 1)
    case("the highest counter", "ok", of(k6=2**32 - 1), counter=2**32 - 2)
    case("another device", "denied", device="84f3eb000002")
    case("a device whose id begins so", "denied", device="84f3eb0000011")
    case("another product", "product", of(k3=bytes(8)))
    case("a key that is not there", "signature", of(DELTA))
    case("a root key", "signature", of(ROOT[0]))
    case("a key without the use", "signature", of(OTHER))
    case("a key of later epochs", "signature", of(LATER))
    case("a key of later epochs, there", "ok", of(LATER), epoch=3)
    case("two signatures wanted", "unsupported", set="two")
    wrong = bytearray(of())
    wrong[-1] ^= 1
    case("signature with a wrong bit", "signature", bytes(wrong))
    case("kind of a manifest", "unsupported", of(k2=0))
    case("kind of a token", "unsupported", of(k2=8))
    case("format 2", "unsupported", of(k1=2))
    for kind in (0, 1, 2, 6, 10, 255):
        case(f"command {kind}", "unsupported", of(k5=kind))
    case("command 256", "range", of(k5=256))
    case("counter 0", "range", of(k6=0))
    case("counter of 33 bits", "range", of(k6=2**32))
    case("without an end", "range", of(k7=0))
    case("wipe with an argument", "range", of(k8=b"x"))
    case("claim of 65", "range", of(k5=9, k8=b"c" * 65))
    case("empty claim", "range", of(k5=9, k8=b""))
    case("id in capitals", "range", of(k4="84F3EB000001"))
    case("empty id", "range", of(k4=""))
    case("id of 65", "range", of(k4="a" * 65))
    case("product of 7", "range", of(k3=bytes(7)))
    for key in range(1, 8):
        case(f"without key {key}", "syntax", of(**{f"k{key}": None}))
    case("another key", "unsupported", of(k9=0))
    case("another key for the argument", "unsupported", of(k64=0))
    case("keys out of order", "syntax", sign1(RELEASE, b"\xa7" + b"".join(cbor(k) + cbor(fields[k]) for k in (2, 1, 3, 4, 5, 6, 7))))
    case("a byte behind the map", "syntax", sign1(RELEASE, cbor(fields) + b"\0"))
    case("a byte behind", "syntax", of() + b"\0")
    case("cut off", "short", of()[:-1])
    case("cut in the middle", "short", of()[:60])
    case("257 bytes", "range", of(k4="a" * 64, k5=9, k7=2**63, k8=b"c" * 64) + bytes(5))
    case("another tag", "syntax", sign1(RELEASE, cbor(fields), tag=98))
    case("something unprotected", "syntax", sign1(RELEASE, cbor(fields), unprotected={1: 1}))
    case("another algorithm", "unsupported", sign1(RELEASE, cbor(fields), protected=cbor({1: -8, 4: RELEASE.id})))
    return {"trust": {k: v.hex() for k, v in trust.items()}, "cases": cases}


def native_vectors():
    digest = hashlib.sha256(b"running").digest()
    check = {1: digest, 2: "1.8.1", 3: 9, 4: 2, 5: 1, 6: 0, 7: 0, 8: 1040384, 9: 1, 10: HARDWARE, 11: 77}
    command = {1: 1, 2: 5, 3: 1760000000}
    offer = {1: 12, 2: b"manifest", 3: 3600, 4: b"token", 5: 2, 6: [command, {1: 6, 2: 6, 3: 0, 4: b"led"}], 7: b"permit"}
    report = {1: 12, 2: 6, 3: 40, 4: -8, 5: "signature", 6: digest, 7: digest, 8: 1001, 10: {1: 5, 2: -16, 3: "later"}}
    enroll = {1: "ABCD-EFGH", 2: b"csr", 3: "84f3eb000001", 4: 1, 5: HARDWARE, 6: "1.8.2"}
    enrolled = {1: "84f3eb000001", 2: b"leaf", 3: b"issuer", 4: PRODUCT, 5: "updates.example", 6: 8883, 7: 1}
    cases = []

    def case(name, kind, fields, error, **change):
        fields = {**fields, **{int(k[1:]): v for k, v in change.items()}}
        data = cbor({k: v for k, v in sorted(fields.items()) if v is not None})
        cases.append({"name": name, "type": kind, "hex": data.hex(), "error": error})

    for kind, fields in (("check", check), ("command", command), ("result", {1: 5, 2: 0}), ("offer", offer),
                         ("report", report), ("enroll", enroll), ("enrolled", enrolled)):
        case(f"{kind}", kind, fields, "ok")
        case(f"{kind} with key 64", kind, fields, "ok", k64=[1, {"a": None}])
        case(f"{kind} with unknown key 63", kind, fields, "syntax", k63=0)
        whole = cbor(fields)
        cases.append({"name": f"{kind} cut off", "type": kind, "hex": whole[:-1].hex(), "error": "short"})
        cases.append({"name": f"{kind} with a byte behind", "type": kind, "hex": (whole + b"\0").hex(), "error": "syntax"})
    case("check with nonce", "check", check, "ok", k12=bytes(16), k13=3, k14=digest)
    case("check with nonce of 15", "check", check, "range", k12=bytes(15))
    case("check without digest", "check", check, "syntax", k1=None)
    case("check, slot 2", "check", check, "range", k6=2)
    case("check, boot state 3", "check", check, "range", k7=3)
    case("check, sequence 2^32", "check", check, "range", k3=2**32)
    case("check, version not UTF-8", "check", check, "syntax", k2=Raw(b"\x61\xff"))
    case("command kind 0", "command", command, "range", k1=0)
    case("command kind 10", "command", command, "range", k1=10)
    case("signed command", "command", command, "ok", k1=9, k5=bytes(256))
    case("signed command of 257", "command", command, "range", k1=9, k5=bytes(257))
    case("command id of 32 bits", "command", command, "range", k2=2**31)
    case("bare check now", "command", {1: 1, 2: 0, 3: 0}, "ok")
    case("command argument of 513", "command", command, "range", k4=bytes(513))
    case("offer of nothing", "offer", {3: 60}, "ok")
    case("offer without action", "offer", offer, "syntax", k1=None)
    case("offer without manifest", "offer", offer, "syntax", k2=None)
    case("offer with five commands", "offer", offer, "range", k6=[command] * 5)
    case("offer with bad command", "offer", offer, "syntax", k6=[{1: 1}])
    case("report state 11", "report", report, "range", k2=11)
    case("report progress 101", "report", report, "range", k3=101)
    case("report text of 201", "report", report, "range", k5="x" * 201)
    case("report code of 33 bits", "report", report, "range", k4=-2**31 - 1)
    case("enroll with MAC of 11", "enroll", enroll, "range", k3="84f3eb00000")
    case("enrolled with port 65536", "enrolled", enrolled, "range", k6=65536)
    return {"cases": cases}


# ---- images ----
def esp_image(head_bytes, segments, base=0):
    body, check = b"", 0xEF
    for address, data in segments:
        body += struct.pack("<II", address, len(data)) + data
        for byte in data:
            check ^= byte
    out = head_bytes + body
    out += bytes(15 - len(out) % 16)
    return out + bytes([check])


def esp8266_head(n, mode=2, size=4, freq=0, entry=0x40201010):
    return struct.pack("<BBBBI", 0xE9, n, mode, size << 4 | freq, entry)


def eboot_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


IDENTITY_MAGIC = b"\x7fPAGURUS" + b"-ID\x01\r\n\x1a\0"


def identity(product=b"meter", version=b"1.8.2", hardware=b"d1mini", epoch=2):
    return (IDENTITY_MAGIC + product.ljust(32, b"\0") + version.ljust(32, b"\0") + hardware.ljust(16, b"\0") +
            struct.pack("<I", epoch) + bytes(28))


def arduino(extra=b"", crc=True):
    boot = esp_image(esp8266_head(1, entry=0x4010F480), [(0x4010F000, bytes(range(64)))]).ljust(4096, b"\xaa")
    data = bytes(8) + b"code" * 20 + extra
    app = esp_image(esp8266_head(2), [(0x40201010, data), (0x3FFE8000, b"data" * 4)])
    out = bytearray(boot + app)
    if crc:
        # as the build tool does: after the checksum byte was made, which therefore does not cover the words
        value = eboot_crc(bytes(out))
        out[0x1010:0x1018] = struct.pack("<II", len(out), value)
    return bytes(out)


def wrong_checksum(image):
    out = bytearray(image)
    out[-1] ^= 1
    out[0x1010:0x1018] = bytes(8)
    out[0x1010:0x1018] = struct.pack("<II", len(out), eboot_crc(bytes(out)))
    return bytes(out)


def esp32(chip=0, desc=True, hashed=True, identity_block=b""):
    header = struct.pack("<BBBBIB3sHBHH4sB", 0xE9, 2, 2, 0x2F, 0x40080000, 0xEE, bytes(3), chip, 0, 0, 399, bytes(4), hashed)
    text = b"\0" * 256
    if desc:
        text = (struct.pack("<II8s", 0xABCD5432, 3, bytes(8)) + b"2.0.1".ljust(32, b"\0") + b"lamp".ljust(32, b"\0") +
                b"12:00:00".ljust(16, b"\0") + b"Jan  1 2026".ljust(16, b"\0") + b"v5.3".ljust(32, b"\0") + bytes(range(32)) + bytes(80))
    out = esp_image(header, [(0x3F400020, text + identity_block), (0x40080000, b"code" * 10)])
    return out + hashlib.sha256(out).digest() if hashed else out


def secure_boot_v2(image):
    image = image.ljust((len(image) + 4095) // 4096 * 4096, b"\xff")
    block = (b"\xe7\x02\0\0" + hashlib.sha256(image).digest()).ljust(1196, b"\x11")
    block += struct.pack("<I", zlib.crc32(block)) + bytes(16)
    return image + block.ljust(4096, b"\xff")


def elf(word=64, kind=2):
    if word == 64:
        out = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", kind, 62, 1, 0x401000, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        return out + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120 + 128, 120 + 128, 4096) + identity()
    out = b"\x7fELF\1\1\1" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", kind, 40, 1, 0x10000, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return out + struct.pack("<IIIIIIII", 1, 0, 0x10000, 0x10000, 84 + 128, 84 + 128, 5, 4096) + identity()


def runs(data):
    """[[hex, count], …]: stretches of one byte are folded so that padding stays readable."""
    out, at = [], 0
    while at < len(data):
        end = at
        while end < len(data) and data[end] == data[at]:
            end += 1
        if end - at >= 32:
            out.append([data[at:at + 1].hex(), end - at])
        elif out and out[-1][1] == 1:
            out[-1][0] += data[at:end].hex()
        else:
            out.append([data[at:end].hex(), 1])
        at = end
    return out


def flip(data, at, bits=1):
    out = bytearray(data)
    out[at] ^= bits
    return bytes(out)


def image_vectors():
    cases = []

    def case(name, data, error, **fields):
        cases.append({"name": name, "parts": runs(data), "error": error, **({"fields": fields} if fields else {})})

    ino, old, esp = arduino(), arduino(crc=False), esp32()
    case("Arduino with length and CRC", ino, "ok", kind="esp8266-arduino", chip="esp8266", payload_bytes=len(ino), has_crc=True)
    case("Arduino before core 2.7", old, "ok", kind="esp8266-arduino", has_crc=False, flash_size_bytes=4 << 20, flash_mode=2)
    named = arduino(identity(), crc=False)
    case("identity block", named, "ok", has_identity=True, project="meter", version="1.8.2", hardware="d1mini", identity_epoch=2)
    case("two identity blocks", arduino(identity() + identity(), crc=False), "syntax")
    case("identity with bad product", arduino(identity(product=b"Meter"), crc=False), "syntax")
    case("identity without version", arduino(identity(version=b""), crc=False), "syntax")
    case("identity with hardware id of 3", arduino(identity(hardware=b"abc"), crc=False), "syntax")
    signed = old + bytes(256) + struct.pack("<I", 256)
    case("signed trailer", signed, "ok", payload_bytes=len(old), trailer_bytes=260)
    case("trailer with wrong length", old + bytes(256) + struct.pack("<I", 255), "syntax")
    case("byte behind the image", old + b"\0", "syntax")
    case("plain image", old[4096:], "ok", kind="esp8266-plain", chip="esp8266")
    case("gzip", b"\x1f\x8b\x08" + bytes(20), "ok", gzip=True)
    case("boot format V2", b"\xea" + old[1:], "unsupported")
    case("text", b"hello, world", "magic")
    case("empty", b"", "short")
    case("one byte", b"\xe9", "short")
    case("header cut off", old[:6], "short")
    case("segment cut off", old[:4200], "short")
    case("last byte missing", old[:-1], "short")
    case("bit in a segment", flip(old, 4140), "checksum")
    case("bit in eboot", flip(old, 20), "checksum")
    case("checksum byte wrong under a right CRC", wrong_checksum(ino), "checksum")
    case("bit in the length word", flip(ino, 0x1010), "checksum")
    case("bit in the CRC word", flip(ino, 0x1014), "checksum")
    case("no segments", flip(old, 1), "syntax")
    case("17 segments", old[:1] + b"\x11" + old[2:], "syntax")
    case("segment of 4 GiB", old[:12] + b"\xff\xff\xff\xff" + old[16:], "short")
    case("flash mode 9", old[:2] + b"\x09" + old[3:], "range")
    for chip, name in ((0, "esp32"), (2, "esp32-s2"), (5, "esp32-c3"), (9, "esp32-s3"), (12, "esp32-c2"), (13, "esp32-c6"),
                       (16, "esp32-h2"), (18, "esp32-p4"), (20, "esp32-c61"), (23, "esp32-c5"), (25, "esp32-h21"),
                       (28, "esp32-h4"), (32, "esp32-s31")):
        case(f"chip id {chip}", esp32(chip), "ok", kind="esp32", chip=name, has_hash=True, version="2.0.1", project="lamp",
             secure_version=3, idf_version="v5.3", chip_rev_max=399)
    case("chip id 99", esp32(99), "hardware")
    case("ESP32 without description", esp32(desc=False), "ok", kind="esp32", version="")
    case("ESP32 without hash", esp32(hashed=False), "ok", has_hash=False)
    case("ESP32, identity before description", esp32(identity_block=identity(hardware=b"lamp-v1")), "ok", project="meter",
         version="1.8.2", hardware="lamp-v1", idf_version="v5.3")
    case("ESP32, bit in the hash", flip(esp, len(esp) - 1), "checksum")
    case("ESP32, bit in the header", flip(esp, 4), "checksum")
    case("ESP32, hash cut off", esp[:-1], "short")
    case("ESP32, byte behind", esp + b"\0", "syntax")
    case("ESP32, hash flag 2", flip(esp, 23, 3), "syntax")
    sealed = secure_boot_v2(esp)
    case("Secure Boot V2", sealed, "ok", payload_bytes=len(sealed), trailer_bytes=0)
    case("Secure Boot V2, bit in the block", flip(sealed, 4096 + 100), "checksum")
    case("Secure Boot V2, no magic", flip(sealed, 4096), "syntax")
    case("Secure Boot V1", esp + bytes(68), "ok")
    case("ELF 64", elf(), "ok", kind="elf", chip="posix", has_identity=True, project="meter")
    case("ELF 32", elf(32), "ok", kind="elf", chip="posix")
    case("ELF object", elf(kind=1), "unsupported")
    case("ELF, big-endian", flip(elf(), 5, 3), "unsupported")
    case("ELF cut off", elf()[:-1], "short")
    case("ELF header cut off", elf()[:40], "short")
    case("ELF, table far away", elf()[:32] + b"\xff" * 8 + elf()[40:], "short")
    return {"cases": cases}


def version_vectors():
    order = []
    chain = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
             "1.0.0", "1.0.1", "1.2", "1.10.0", "v2.0.0", "99999999999999999999.0.0"]
    secure = ["BOARD-00.00.07.z", "BOARD-00.00.08.f", "BOARD-00.00.08.i", "BOARD-00.01.00.a", "BOARD-01.00.00.a"]
    plain = ["build-2", "build-9", "build-10", "build-010a", "nightly"]
    for items in (chain, secure, plain):
        for i, a in enumerate(items):
            for j, b in enumerate(items):
                order.append({"a": a, "b": b, "order": (i > j) - (i < j)})
    order += [{"a": "1.2", "b": "v1.2.0", "order": 0}, {"a": "1.2.3+a", "b": "1.2.3+b", "order": 0},
              {"a": "A-00.00.08.g", "b": "B-00.00.08.g", "order": None}, {"a": "1.2.3", "b": "nightly", "order": None},
              {"a": "1.2.3", "b": "A-00.00.08.g", "order": None}]
    schemes = {"1.2.3": "semver", "v1.2": "semver", "1.2.3-rc.1+b5": "semver", "1.02.3": "plain", "1": "plain", "1.2.3-": "plain",
               "1.2.3-01": "plain", "1.2.3+": "plain", "1.2.3.4": "plain", "ESP8266_WEMOS_D1MINIPRO-00.00.08.i": "secure",
               "D1-MINI-0.0.8.g": "secure", "-00.00.08.g": "plain", "A-00.00.08": "plain", "A-00.00.08.gg": "plain", "": "plain"}
    ok = {"1.2.3": True, "": False, "a b": False, "x" * 32: True, "x" * 33: False, 'a"b': False, "a\\b": False, "a\tb": False, "\u00e9": False}
    return {"order": order, "scheme": schemes, "ok": ok}


def cbor_vectors():
    table = {
        "ok": ["00", "17", "1818", "18ff", "190100", "1a00010000", "1b0000000100000000", "1bffffffffffffffff", "20", "3863",
               "3bffffffffffffffff", "40", "4401020304", "60", "6161", "62c3a9", "64f09f9880", "80", "83010203", "a0",
               "a2010220f6", "a1616101", "c000", "d2820102", "f4", "f5", "f6", "818181818181818100", "a3000118180261610a"],
        "syntax": ["1800", "1817", "190018", "1900ff", "1a0000ffff", "1b00000000ffffffff", "5801aa", "9f01ff", "bf0102ff", "5f4101ff",
                   "7f6161ff", "f7", "f90000", "fa00000000", "fb0000000000000000", "f0", "f818", "ff", "1c", "1f", "61ff", "62c080",
                   "63eda080", "64f4908080", "62c328", "a201020102", "a202020101", "a2616101010a", "a1800a", "a1f400",
                   "81818181818181818100", "0000", "a2010220f600"],
        "short": ["", "18", "19", "1901", "1b00", "42", "4201", "6261", "82", "8201", "a1", "a20102", "a101", "c0", "9b7fffffffffffffff",
                  "5bffffffffffffffff", "bb8000000000000000"],
    }
    return {"cases": [{"hex": h, "error": e} for e, items in table.items() for h in items]}


def main():
    makers = {"manifest": manifest_vectors, "trust": trust_vectors, "command": command_vectors, "native": native_vectors, "image": image_vectors,
              "version": version_vectors, "cbor": cbor_vectors}
    for name, make in makers.items():
        (HERE / f"{name}.json").write_text(json.dumps(make(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
