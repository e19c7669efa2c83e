"""Keys, trust sets and manifests made with Python alone (docs/spec/manifest.md, docs/spec/trust-set.md)."""

import hashlib
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

import cborish

CHIPS = {"esp8266": 1, "esp32": 2, "esp32-s2": 3, "esp32-s3": 4, "esp32-c3": 5, "posix": 255}
KINDS_ALL = 0xFF


class Key:
    """A P-256 key that signs COSE objects."""

    def __init__(self):
        self.private = ec.generate_private_key(ec.SECP256R1())
        public = self.private.public_key()
        spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.id = hashlib.sha256(spki).digest()[:8]
        self.point = public.public_bytes(serialization.Encoding.X962,
                                         serialization.PublicFormat.UncompressedPoint)[1:]
        self.pem = public.public_bytes(serialization.Encoding.PEM,
                                       serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        self.protected = cborish.dumps({1: -7, 4: self.id})

    def sign(self, context, payload):
        body = [context, b"", self.protected, b"", payload] if context == "Signature" else \
            [context, self.protected, b"", payload]
        r, s = decode_dss_signature(self.private.sign(cborish.dumps(body), ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def sign1(self, payload):
        return cborish.dumps(cborish.Tag(18, [self.protected, {}, payload, self.sign("Signature1", payload)]))


def trust_set(product_id, roots, releases, version=1, previous=None, expires=0, freshness=(), signers=None,
              root_threshold=1):
    """A COSE_Sign by all roots (or signers). product_id: hex. previous: bytes of the set before."""
    payload = cborish.dumps({
        1: 1, 2: version, 3: bytes.fromhex(product_id), 4: root_threshold,
        5: [[k.id, k.point] for k in sorted(roots, key=lambda k: k.id)], 6: 1,
        7: [[k.id, k.point, KINDS_ALL, 0, 65536] for k in sorted(releases, key=lambda k: k.id)],
        8: [], 9: [[k.id, k.point] for k in freshness], 10: expires,
        11: hashlib.sha256(previous).digest() if previous else bytes(32),
    })
    signers = sorted(signers or roots, key=lambda k: k.id)
    return cborish.dumps(cborish.Tag(98, [b"", {}, payload,
                                          [[k.protected, {}, k.sign("Signature", payload)] for k in signers]]))


def manifest(key, product_id, chip, hardware, version, sequence, image, name="firmware", kind=0, epoch=0, **other):
    """A COSE_Sign1 for one image. other: numeric fields of the map by "k<number>"."""
    now = int(time.time())
    fields = {
        1: 1, 2: kind, 3: bytes.fromhex(product_id), 4: [h.encode() for h in hardware], 5: CHIPS[chip], 6: name,
        7: version, 9: epoch, 10: sequence, 11: hashlib.sha256(image).digest(), 12: len(image), 14: now, 15: 0,
        19: 0, 22: [0],
    }
    fields.update({int(k[1:]): v for k, v in other.items()})
    return key.sign1(cborish.dumps(fields))


class Publisher:
    """Owner of a product: a root key, a release key, and one call from image to published release."""

    def __init__(self, server, name="meter", chip="posix", hardware=("posix",), **settings):
        self.server = server
        self.chip = chip
        self.hardware = hardware
        self.root = Key()
        self.key = Key()
        self.product = server.product(name, chip, hardware, **settings)
        self.product_id = self.product["id"].removeprefix("prd_")
        self.name = name
        self.trust = trust_set(self.product_id, [self.root], [self.key])
        reply = server.call("PUT", f"/products/{name}/trust-sets/1", self.trust, {"Content-Type": "application/cose"})
        assert reply.status == 201, reply.body

    def draft(self, version, image, name="firmware", signed=True, **other):
        release = self.server.rest("POST", "/releases", {"product": self.name, "version": version,
                                                         "channel": "stable"})
        reply = self.server.upload(release["id"], image, name)
        assert reply.status == 201, reply.body
        if signed:
            self.sign(release, version, image, name, **other)
        return release

    def sign(self, release, version, image, name="firmware", **other):
        cose = manifest(self.key, self.product_id, self.chip, self.hardware, version, release["sequence"], image,
                        name, kind=0 if name == "firmware" else 1, **other)
        reply = self.server.call("POST", f"/releases/{release['id']}/manifests", cose,
                                 {"Content-Type": "application/cose"})
        assert reply.status == 201, reply.body

    def publish(self, version, image, **other):
        release = self.draft(version, image, **other)
        return self.server.rest("POST", f"/releases/{release['id']}:publish")
