"""Images signed as the Arduino core's tool signs them, with the openssl program alone, and keys inside images."""

import subprocess

import esp8266


class Key:
    """An RSA (or P-256) key in a folder, as people have them."""

    def __init__(self, folder, name, bits=2048, ec=False):
        self.name = name
        self.private = folder / f"{name}.pem"
        self.public = folder / f"{name}.pub"
        make = ["ecparam", "-name", "prime256v1", "-genkey", "-noout"] if ec else ["genrsa"]
        openssl(*make, "-out", str(self.private), *([] if ec else [str(bits)]))
        openssl("pkey", "-in", str(self.private), "-pubout", "-out", str(self.public))
        self.pem = self.public.read_text()

    def register(self, server, product=None):
        body = {"name": self.name, "use": "arduino", "pem": self.pem}
        self.id = server.rest("POST", "/keys", body | ({"product": product} if product else {}))["id"]
        return self

    def detached(self, data):
        """openssl dgst -sha256 -sign"""
        return openssl("dgst", "-sha256", "-sign", str(self.private), stdin=data)

    def signed(self, data, legacy=False):
        """data, signature, length: .bin.signed, or .bin.legacy_sig."""
        if legacy:
            digest = openssl("dgst", "-sha256", "-binary", stdin=data)
            sig = openssl("pkeyutl", "-sign", "-inkey", str(self.private), "-pkeyopt", "rsa_padding_mode:pkcs1",
                          stdin=digest)
        else:
            sig = self.detached(data)
        return data + sig + len(sig).to_bytes(4, "little")

    def verifies(self, folder, data, sig):
        """What a device does with both: openssl dgst -sha256 -verify."""
        file = folder / "checked.sig"
        file.write_bytes(sig)
        done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", str(self.public), "-signature", str(file)],
                              input=data, capture_output=True, timeout=60, check=False)
        return done.returncode == 0


def openssl(*words, stdin=None):
    done = subprocess.run(["openssl", *words], input=stdin, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def image(product, version, key=None, filler=20000):
    """An Arduino image with the public key's PEM text in its data, as the signing header puts it there."""
    return esp8266.arduino(product, version, filler=filler, more=key.pem.encode() + b"\0" if key else b"")
