#!/usr/bin/env python3
"""Reads the vector files without any of our C: an own CBOR and COSE decoder, ECDSA by the cryptography package, or
by the openssl command where that is missing.

    python3 tests/vectors/read_vectors.py

Checks that what must be accepted is, with the fields given, and that the rest is refused. Exit status 1 and a
line for each case that differs.
"""
import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils
except ImportError:
    ec = None  # then the openssl command verifies

HERE = pathlib.Path(__file__).parent
SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")  # of a P-256 point (RFC 5480)


class Bad(Exception):
    """Not well-formed, not allowed, or not trusted."""


def need(condition, text="rule"):
    if not condition:
        raise Bad(text)


# ---- CBOR, deterministic subset ----
class Map(list):
    """Pairs in order."""


class Tagged(tuple):
    pass


def item(data, at, depth=0):
    need(at < len(data), "short")
    need(depth <= 8, "depth")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        need(info in (20, 21, 22), "simple")
        return {20: False, 21: True, 22: None}[info], at
    value = info
    if info >= 24:
        need(info <= 27, "info")
        size = 1 << info - 24
        need(at + size <= len(data), "short")
        value = int.from_bytes(data[at:at + size], "big")
        at += size
        need(value >= (24 if size == 1 else 1 << 4 * size), "long form")
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major in (2, 3):
        need(at + value <= len(data), "short")
        raw = bytes(data[at:at + value])
        if major == 2:
            return raw, at + value
        try:
            return raw.decode("utf-8"), at + value
        except UnicodeDecodeError:
            raise Bad("utf-8") from None
    need(depth < 8, "depth")
    if major == 4:
        out = []
        need(value <= len(data) - at, "short")
        for _ in range(value):
            element, at = item(data, at, depth + 1)
            out.append(element)
        return out, at
    if major == 5:
        pairs, last = Map(), None
        need(value <= (len(data) - at) // 2, "short")
        for _ in range(value):
            start = at
            key, at = item(data, at, depth + 1)
            raw = data[start:at]
            need(type(key) in (int, bytes, str) and (last is None or raw > last), "key order")
            last = raw
            element, at = item(data, at, depth + 1)
            pairs.append((key, element))
        return pairs, at
    inner, at = item(data, at, depth + 1)
    return Tagged((value, inner)), at


def decode(data):
    value, at = item(data, 0)
    need(at == len(data), "trailing")
    return value


def head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    return bytes([major << 5 | (24 if n < 256 else 25)]) + n.to_bytes(1 if n < 256 else 2, "big")


def structure(context, *strings):
    return (head(4, 1 + len(strings)) + head(3, len(context)) + context.encode() +
            b"".join(head(2, len(s)) + s for s in strings))


def bucket_id(bucket):
    need(bucket[:5] == bytes.fromhex("a201260448") and len(bucket) == 13, "protected header")
    return bucket[5:]


def der_integer(raw):
    raw = raw.lstrip(b"\0")
    raw = (b"\0" if not raw or raw[0] >> 7 else b"") + raw
    return b"\x02" + bytes([len(raw)]) + raw


def signed_by_command(point, message, signature):
    with tempfile.TemporaryDirectory() as folder:
        files = {"key": SPKI + point, "message": message}
        body = der_integer(signature[:32]) + der_integer(signature[32:])
        files["signature"] = b"\x30" + bytes([len(body)]) + body
        for noun, data in files.items():
            (pathlib.Path(folder) / noun).write_bytes(data)
        command = ["openssl", "dgst", "-sha256", "-keyform", "DER", "-verify", "key", "-signature", "signature", "message"]
        return subprocess.run(command, cwd=folder, capture_output=True, timeout=10, check=False).returncode == 0


def signed_by(point, message, signature):
    if ec is None:
        return signed_by_command(point, message, signature)
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + point)
        der = utils.encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        key.verify(der, message, ec.ECDSA(hashes.SHA256()))
        return True
    except (InvalidSignature, ValueError):
        return False


def id_of(point):
    return hashlib.sha256(SPKI + point).digest()[:8]


def sign1(data):
    outer = decode(data)
    need(isinstance(outer, Tagged) and outer[0] == 18 and type(outer[1]) is list and len(outer[1]) == 4, "envelope")
    bucket, open_map, payload, signature = outer[1]
    need(type(bucket) is bytes and type(payload) is bytes and type(signature) is bytes and len(signature) == 64, "envelope")
    need(isinstance(open_map, Map) and not open_map, "unprotected")
    return bucket_id(bucket), payload, structure("Signature1", bucket, b"", payload), signature


# ---- rules of fields ----
def uint(low, high):
    return lambda v: type(v) is int and low <= v <= high


def octets(low, high=None):
    return lambda v: type(v) is bytes and low <= len(v) <= (high or low)


def name(v):
    return type(v) is str and 1 <= len(v) <= 16 and all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in v)


def version(v):
    return type(v) is str and 1 <= len(v) <= 32 and all("!" <= c <= "~" and c not in "\"'\\" for c in v)


def tuple_of(*rules):
    return lambda v: type(v) is list and len(v) == len(rules) and all(r(x) for r, x in zip(rules, v))


def list_of(rule, low, high):
    return lambda v: type(v) is list and low <= len(v) <= high and all(rule(x) for x in v)


CONDITIONS = {1: uint(1, 100), 2: uint(1, 65535), 3: uint(-128, -1), 4: uint(1, 2**32 - 1), 5: uint(1, 2**32 - 1),
              6: uint(1, 255), 7: lambda v: v is True}
U32 = uint(0, 2**32 - 1)
MANIFEST = {
    1: uint(1, 1), 2: uint(0, 7), 3: octets(8), 4: list_of(octets(4, 16), 1, 4),
    5: lambda v: type(v) is int and (1 <= v <= 14 or v == 255), 6: name, 7: version, 8: octets(16), 9: uint(0, 65536),
    10: uint(1, 2**32 - 1), 11: octets(32), 12: uint(1, 2**32 - 1),
    13: list_of(tuple_of(uint(0, 3), octets(16), octets(32), uint(1, 2**32 - 1)), 1, 3), 14: uint(0, 2**64 - 1),
    15: uint(0, 2**64 - 1),
    16: lambda v: isinstance(v, Map) and len(v) > 0 and all(k in CONDITIONS and CONDITIONS[k](x) for k, x in v),
    17: tuple_of(U32, uint(0, 65536)),
    18: list_of(lambda v: tuple_of(name, U32, U32)(v) and v[1] <= v[2], 1, 2), 19: U32, 20: octets(4), 21: octets(32),
    22: lambda v: type(v) is list and (v == [0] or tuple_of(uint(1, 3), octets(8))(v))}
KEY = tuple_of(octets(8), octets(64))
RELEASE_KEY = tuple_of(octets(8), octets(64), uint(1, 255), uint(0, 65536), uint(0, 65536))
TRUST = {1: uint(1, 1), 2: uint(1, 2**32 - 1), 3: octets(8), 4: uint(1, 5), 5: list_of(KEY, 1, 5), 6: uint(1, 2),
         7: list_of(RELEASE_KEY, 0, 6), 8: list_of(KEY, 0, 2), 9: list_of(KEY, 0, 2), 10: uint(0, 2**64 - 1), 11: octets(32)}
TOKEN = {1: uint(1, 1), 2: uint(8, 8), 3: octets(8), 4: octets(16), 5: uint(0, 2**64 - 1), 6: U32, 7: U32, 8: uint(0, 604800)}


def fields_of(payload, rules, needed, extension=True):
    pairs = decode(payload)
    need(isinstance(pairs, Map), "map")
    out = {}
    for key, value in pairs:
        need(type(key) is int and key >= 0, "key")
        if key in rules:
            need(rules[key](value), f"key {key}")
            out[key] = value
        else:
            need(extension and key >= 64, f"unknown key {key}")
    need(set(needed) <= set(out), "missing key")
    return out


def read_manifest(data):
    need(len(data) <= 512, "size")
    key_id, payload, message, signature = sign1(data)
    m = fields_of(payload, MANIFEST, (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 19, 22))
    need(m[15] == 0 or m[15] >= m[14], "expiry")
    if m[2] == 6:
        need(17 in m and m[17][0] > m[10] and m[15] != 0 and not {13, 16, 18} & set(m), "permit")
    return m, key_id, message, signature


def verify_manifest(data, trust):
    m, key_id, message, signature = read_manifest(data)
    need(m[3] == trust[3], "product")
    for k in trust[7]:
        if k[0] == key_id:
            need(k[2] >> m[2] & 1 and k[3] <= m[9] <= k[4], "role")
            need(signed_by(k[1], message, signature), "signature")
            return
    raise Bad("key")


def read_trust(data):
    need(len(data) <= 1536, "size")
    outer = decode(data)
    need(isinstance(outer, Tagged) and outer[0] == 98 and len(outer[1]) == 4, "envelope")
    bucket, open_map, payload, signers = outer[1]
    need(bucket == b"" and isinstance(open_map, Map) and not open_map and type(signers) is list, "envelope")
    need(len(signers) <= 10, "signers")
    t = fields_of(payload, TRUST, TRUST)
    need(t[4] <= len(t[5]), "threshold")
    for field in (5, 7, 8, 9):
        ids = [k[0] for k in t[field]]
        need(ids == sorted(set(ids)) and len({k[1] for k in t[field]}) == len(ids), "list")
        need(all(id_of(k[1]) == k[0] for k in t[field]), "id")
    need(all(k[3] <= k[4] for k in t[7]), "epochs")
    need((t[2] == 1) == (t[11] == bytes(32)), "previous")
    signed, last = {}, b""
    for signer in signers:
        need(len(signer) == 3 and isinstance(signer[1], Map) and not signer[1] and len(signer[2]) == 64, "signer")
        key_id = bucket_id(signer[0])
        need(key_id > last, "signer order")
        last = key_id
        signed[key_id] = (structure("Signature", b"", signer[0], b"", payload), signer[2])
    return t, signed


def accept_trust(data, old=None, pinned=None):
    t, signed = read_trust(data)
    sets = [t]
    if pinned is not None:
        need(hashlib.sha256(data).digest() == pinned, "pinned")
    if old is not None:
        before, _ = read_trust(old)
        need(t[3] == before[3] and t[2] == before[2] + 1 and t[11] == hashlib.sha256(old).digest(), "chain")
        sets.append(before)
    for one in sets:
        roots = {k[0]: k[1] for k in one[5]}
        by = [k for k in signed if k in roots]
        need(all(signed_by(roots[k], *signed[k]) for k in by) and len(by) >= one[4], "threshold")
    return t


def verify_token(data, trust, nonce):
    need(len(data) <= 192, "size")
    key_id, payload, message, signature = sign1(data)
    t = fields_of(payload, TOKEN, TOKEN, extension=False)
    points = {k[0]: k[1] for k in trust[9]}
    need(key_id in points and signed_by(points[key_id], message, signature), "signature")
    need(t[3] == trust[3] and t[4] == nonce, "binding")


# ---- signed commands ----
def device_id(v):
    return type(v) is str and 1 <= len(v) <= 64 and set(v) <= set("0123456789abcdefghijklmnopqrstuvwxyz-")


def admit_command(data, trust, case):
    """As docs/spec/commands.md 3 says, in its order."""
    need(len(data) <= 256, "size")
    key_id, payload, signed, signature = sign1(data)
    c = decode(payload)
    need(isinstance(c, Map) and [k for k, _ in c] in ([*range(1, 8)], [*range(1, 9)]), "keys")
    c = dict(c)
    need(c[1] == 1 and type(c[1]) is int and c[2] == 7 and type(c[2]) is int, "format")
    need(octets(8)(c[3]) and device_id(c[4]) and uint(7, 9)(c[5]), "fields")
    need(uint(1, 2**32 - 1)(c[6]) and uint(1, 2**64 - 1)(c[7]), "numbers")
    need(8 not in c or (c[5] == 9 and octets(1, 64)(c[8])), "argument")
    need(c[3] == trust[3] and trust[6] == 1, "set")
    points = {k[0]: k[1] for k in trust[7] if k[2] >> 7 & 1 and k[3] <= case["epoch"] <= k[4]}
    need(key_id in points and signed_by(points[key_id], signed, signature), "signature")
    need(c[4] == case.get("device", "84f3eb000001"), "device")
    need(case["now"] <= c[7], "expired")
    need(c[6] > case["counter"], "counter")


# ---- native messages ----
def text(low, high):
    return lambda v: type(v) is str and low <= len(v.encode()) <= high


def message(rules, needed):
    def check(v):
        need(isinstance(v, Map), "map")
        out = {}
        for key, value in v:
            need(type(key) is int and key >= 0, "key")
            if key in rules:
                need(rules[key](value), f"key {key}")
                out[key] = value
            else:
                need(key >= 64, "unknown key")
        need(set(needed) <= set(out), "missing")
        return out
    return check


COMMAND = message({1: uint(1, 9), 2: uint(0, 2**31 - 1), 3: uint(0, 2**64 - 1), 4: octets(1, 512), 5: octets(1, 256)}, (1, 2, 3))
RESULT = message({1: uint(1, 2**31 - 1), 2: uint(-2**31, 2**31 - 1), 3: text(1, 200)}, (1, 2))
CHECK = message({1: octets(32), 2: text(0, 32), 3: U32, 4: U32, 5: U32, 6: uint(0, 1), 7: uint(0, 2), 8: U32, 9: uint(0, 255),
                 10: octets(4, 16), 11: U32, 12: octets(16), 13: U32, 14: octets(32)}, range(1, 12))
OFFER = message({1: uint(1, 2**31 - 1), 2: octets(1, 512), 3: U32, 4: octets(1, 192), 5: U32,
                 6: list_of(lambda v: COMMAND(v) is not None, 1, 4), 7: octets(1, 512)}, ())
REPORT = message({1: uint(0, 2**31 - 1), 2: uint(0, 10), 3: uint(0, 100), 4: uint(-2**31, 2**31 - 1), 5: text(1, 200),
                  6: octets(32), 7: octets(32), 8: U32, 10: lambda v: RESULT(v) is not None}, (1, 2, 8))
ENROLL = message({1: text(1, 64), 2: octets(1, 1024), 3: text(12, 12), 4: uint(0, 255), 5: octets(4, 16), 6: text(1, 32)}, range(1, 6))
ENROLLED = message({1: text(1, 64), 2: octets(1, 1400), 3: octets(1, 1400), 4: octets(8), 5: text(1, 253), 6: uint(1, 65535), 7: U32},
                   range(1, 5))
NATIVE = {"check": CHECK, "command": COMMAND, "result": RESULT, "offer": OFFER, "report": REPORT, "enroll": ENROLL,
          "enrolled": ENROLLED}


def read_native(kind, data):
    out = NATIVE[kind](decode(data))
    if kind == "offer":
        need((1 in out) == (2 in out), "action and manifest")


# ---- images ----
def walk(data, base, first, limit):
    at, check = base + first, 0xEF
    need(limit <= len(data) and at <= limit and 1 <= data[base + 1] <= 16, "header")
    for _ in range(data[base + 1]):
        need(at + 8 <= limit, "segment")
        n = struct.unpack_from("<I", data, at + 4)[0]
        need(at + 8 + n <= limit, "segment")
        for byte in data[at + 8:at + 8 + n]:
            check ^= byte
        at += 8 + n
    end = base + ((at - base) // 16 + 1) * 16
    need(end <= limit, "checksum cut off")
    return end, check ^ data[end - 1]


def crc_eboot(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


def read_esp8266(data):
    app = len(data) > 4096 and data[4096] == 0xE9
    need(data[2] <= 3, "mode")
    end, left = walk(data, 0, 8, 4096 if app else len(data))
    need(left == 0, "checksum")
    out = {"kind": "esp8266-plain", "chip": "esp8266", "has_crc": False}
    if app:
        end, left = walk(data, 4096, 8, len(data))
        out["kind"] = "esp8266-arduino"
        if end >= 0x1018 and struct.unpack_from("<I", data, 0x1010)[0] == end:
            need(crc_eboot(data[:0x1010] + bytes(8) + data[0x1018:end]) == struct.unpack_from("<I", data, 0x1014)[0], "crc")
            words = 0
            for byte in data[0x1010:0x1018]:
                words ^= byte
            need(left in (0, words), "checksum")
            out["has_crc"], left = True, 0
        need(left == 0, "checksum")
    rest = data[end:]
    need(not rest or 132 <= len(rest) <= 516 and struct.unpack("<I", rest[-4:])[0] == len(rest) - 4, "tail")
    return dict(out, payload_bytes=end, trailer_bytes=len(rest))


CHIPS = {0: "esp32", 2: "esp32-s2", 5: "esp32-c3", 9: "esp32-s3", 12: "esp32-c2", 13: "esp32-c6", 16: "esp32-h2", 18: "esp32-p4",
         20: "esp32-c61", 23: "esp32-c5", 25: "esp32-h21", 28: "esp32-h4", 32: "esp32-s31"}


def read_esp32(data):
    chip = struct.unpack_from("<H", data, 12)[0]
    need(chip in CHIPS and data[23] <= 1, "header")
    end, left = walk(data, 0, 24, len(data))
    need(left == 0, "checksum")
    if data[23]:
        need(data[end:end + 32] == hashlib.sha256(data[:end]).digest(), "hash")
        end += 32
    rest, padded = len(data) - end, (end + 4095) // 4096 * 4096
    if rest and not (rest == 68 and data[end:end + 4] == bytes(4)):
        need(len(data) == padded + 4096 and data[padded] == 0xE7, "tail")
        block = data[padded:padded + 1216]
        need(zlib.crc32(block[:1196]) == struct.unpack_from("<I", block, 1196)[0], "block")
        need(hashlib.sha256(data[:padded]).digest() == block[4:36], "digest")
    return {"kind": "esp32", "chip": CHIPS[chip], "has_hash": bool(data[23]), "payload_bytes": len(data), "trailer_bytes": 0}


def read_elf(data):
    need(len(data) >= 52 and data[4] in (1, 2) and data[5] == 1 and struct.unpack_from("<H", data, 16)[0] in (2, 3), "elf")
    wide = data[4] == 2
    table = struct.unpack_from("<Q" if wide else "<I", data, 32 if wide else 28)[0]
    size, n = struct.unpack_from("<HH", data, 54 if wide else 42)
    need(size == (56 if wide else 32) and table + n * size <= len(data), "table")
    for i in range(n):
        at = table + i * size
        offset, filled = (struct.unpack_from("<Q", data, at + 8)[0], struct.unpack_from("<Q", data, at + 32)[0]) if wide else (
            struct.unpack_from("<I", data, at + 4)[0], struct.unpack_from("<I", data, at + 16)[0])
        need(struct.unpack_from("<I", data, at)[0] != 1 or offset + filled <= len(data), "segment")
    return {"kind": "elf", "chip": "posix", "payload_bytes": len(data)}


def read_image(data):
    need(len(data) >= 2, "short")
    if data[:2] == b"\x1f\x8b":
        return {"gzip": True}
    if data[:4] == b"\x7fELF":
        out = read_elf(data)
    else:
        need(data[0] == 0xE9, "magic")
        esp = len(data) >= 288 and data[32:36] == bytes.fromhex("3254cdab")
        esp = esp or not (len(data) > 4096 and data[4096] == 0xE9) and len(data) > 24 and data[9:12] == bytes(3) and data[8] == 0xEE
        out = read_esp32(data) if esp else read_esp8266(data)
    block = b"\x7fPAGURUS" + b"-ID\x01\r\n\x1a\0"
    payload = data[:out["payload_bytes"]]
    need(payload.count(block) <= 1, "two identities")
    if block in payload:
        at = payload.index(block)
        texts = [payload[at + a:at + b].rstrip(b"\0").decode() for a, b in ((16, 48), (48, 80), (80, 96))]
        need(texts[0] and all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in texts[0]) and version(texts[1]), "identity")
        need(len(texts[2]) >= 4, "identity")
        out.update(project=texts[0], version=texts[1], hardware=texts[2], has_identity=True)
    return out


# ---- running ----
class Run:
    def __init__(self):
        self.cases = self.wrong = 0

    def check(self, label, want_ok, work, fields=None):
        self.cases += 1
        try:
            got = work()
            ok = True
        except Bad as reason:
            got, ok = str(reason), False
        if ok != want_ok:
            self.wrong += 1
            print(f"{label}: must be {'accepted' if want_ok else 'refused'}, is not ({got})")
        elif ok and fields:
            for key, value in fields.items():
                if key in got and got[key] != value:
                    self.wrong += 1
                    print(f"{label}: {key} is {got[key]!r}, not {value!r}")


def load(noun):
    return json.loads((HERE / f"{noun}.json").read_text())


def named(m):
    names = {2: "kind", 3: "product", 5: "chip", 6: "image", 7: "version", 9: "epoch", 10: "sequence", 11: "digest", 12: "size",
             14: "issued_at", 15: "expires_at", 19: "trust_version_min"}
    return {n: m[k].hex() if isinstance(m[k], bytes) else m[k] for k, n in names.items()}


def main():
    run = Run()
    for case in load("cbor")["cases"]:
        run.check("cbor " + case["hex"], case["error"] == "ok", lambda: decode(bytes.fromhex(case["hex"])))
    manifests = load("manifest")
    for group in (manifests, manifests["narrow"]):
        trust = accept_trust(bytes.fromhex(group["trust"]))
        for case in group["cases"]:
            data = bytes.fromhex(case["hex"])
            if "parse" in case:
                run.check(case["name"], case["parse"] == "ok", lambda: named(read_manifest(data)[0]), case.get("fields"))
            run.check(case["name"], case["verify"] == "ok", lambda: verify_manifest(data, trust))
    trusts = load("trust")
    for case in trusts["cases"]:
        old, pinned = (bytes.fromhex(case[k]) if k in case else None for k in ("old", "pinned"))
        run.check(case["name"], case["error"] == "ok", lambda: accept_trust(bytes.fromhex(case["hex"]), old, pinned))
    first = accept_trust(bytes.fromhex(trusts["trust"]))
    for case in trusts["tokens"]:
        run.check(case["name"], case["error"] == "ok",
                  lambda: verify_token(bytes.fromhex(case["hex"]), first, bytes.fromhex(case["nonce"])))
    commands = load("command")
    sets = {name: accept_trust(bytes.fromhex(raw)) for name, raw in commands["trust"].items()}
    for case in commands["cases"]:
        run.check(case["name"], case["error"] == "ok",
                  lambda: admit_command(bytes.fromhex(case["hex"]), sets[case["set"]], case))
    for case in load("native")["cases"]:
        run.check(case["name"], case["error"] == "ok", lambda: read_native(case["type"], bytes.fromhex(case["hex"])))
    for case in load("image")["cases"]:
        data = b"".join(bytes.fromhex(part) * count for part, count in case["parts"])
        run.check(case["name"], case["error"] == "ok", lambda: read_image(data), case.get("fields"))
    print(f"vectors: {run.cases - run.wrong} passed, {run.wrong} failed")
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
