"""What tests of clients that exist already share: products without our trust, ESP32 images, raw requests, replays."""

import base64
import gzip
import hashlib
import socket
import struct

import esp8266

HASHED = 1


def esp32(chip_id=0, version="1.0.0", filler=20000, project="arduino-lib-builder"):
    """An application of the ESP32 family: descriptor, checksum, the SHA-256 of it all at the end."""
    desc = struct.pack("<II8s32s32s16s16s32s32s", 0xABCD5432, 0, b"", version.encode(), project.encode(), b"10:19:19",
                       b"Mar  8 2020", b"v5.3", hashlib.sha256(version.encode()).digest())
    desc += bytes(256 - len(desc))
    body = desc + hashlib.sha256(b"body" + version.encode()).digest() * (filler // 32)
    out = struct.pack("<BBBBIB3sHBHH4sB", 0xE9, 2, 2, 0x20, 0x40081000, 0xEE, b"", chip_id, 0, 0, 0xFFFF, b"", HASHED)
    check = 0xEF
    for address, data in ((0x3F400020, body), (0x40080000, bytes(64))):
        out += struct.pack("<II", address, len(data)) + data
        for byte in data:
            check ^= byte
    size = (len(out) + 16) & ~15
    out += bytes(size - len(out) - 1) + bytes([check])
    return out + hashlib.sha256(out).digest()


def packed(image):
    return gzip.compress(image, 9, mtime=0)


class Shelf:
    """Owner of a product whose images are as they always were: no trust set, no manifests."""

    def __init__(self, server, name, chip="esp8266", hardware=("d1mini",), **settings):
        self.server = server
        self.name = name
        settings.setdefault("legacy_auth", "none")
        self.product = server.product(name, chip, hardware, **settings)

    def draft(self, version, **images):
        """images: name with "_" for "-" to bytes, or to (bytes, {"file": …, "core": …, "offset": …})."""
        release = self.server.rest("POST", "/releases", {"product": self.name, "version": version, "channel": "stable"})
        for name, image in images.items():
            data, more = image if isinstance(image, tuple) else (image, {})
            reply = self.put(release["id"], name.replace("_", "-"), data, **more)
            assert reply.status == 201, (name, reply.body)
        return release

    def put(self, release, name, data, **more):
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        query = "&".join(f"{k}={v}" for k, v in more.items())
        return self.server.call("PUT", f"/releases/{release}/images/{name}?{query}", data,
                                {"Content-Type": "application/octet-stream", "Repr-Digest": f"sha-256=:{digest}:"})

    def publish(self, version, **images):
        release = self.draft(version, **images)
        return self.server.rest("POST", f"/releases/{release['id']}:publish")

    def mount(self, path, kind, **other):
        reply = self.server.call("POST", f"/products/{self.name}/mounts", {"path": path, "kind": kind, **other})
        assert reply.status == 201, reply.body
        return path


class Answer:
    """One answer, read until the peer closes: status, headers (list of lower-case name and value), body, rest."""

    def __init__(self, raw, head=False):
        top, _, self.rest = raw.partition(b"\r\n\r\n")
        lines = top.decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1."), raw[:80]
        self.status = int(lines[0].split()[1])
        self.headers = [tuple(part.strip() for part in line.partition(":")[::2]) for line in lines[1:]]
        self.headers = [(n.lower(), v) for n, v in self.headers]
        length = int(self.header("content-length") or 0)
        self.body = b"" if head or self.status == 304 else self.rest[:length]
        self.rest = self.rest[len(self.body):]

    def header(self, name):
        found = [v for n, v in self.headers if n == name]
        assert len(found) < 2, (name, found)
        return found[0] if found else None


def connect(server, device=None, port="device"):
    plain = socket.create_connection(("127.0.0.1", server.ports[port]), timeout=20)
    if port != "device":
        return plain
    return server.tls(device).wrap_socket(plain, server_hostname="localhost")


def send(server, request, device=None, port="device", head=False):
    """Raw bytes there, everything back."""
    with connect(server, device, port) as link:
        link.sendall(request)
        got = b""
        while True:
            try:
                piece = link.recv(65536)
            except (ConnectionResetError, OSError):
                piece = b""
            if not piece:
                return Answer(got, head)
            got += piece
            if got.startswith(b"HTTP/1.1 401") and got.endswith(b"\r\n\r\n") and b"\r\nConnection: close" not in got:
                return Answer(got, head)  # it waits there for the same request with a user


def get(server, path, headers=(), device=None, port="device", method="GET", version="1.1"):
    lines = [f"{method} {path} HTTP/{version}", "Host: 127.0.0.1", *[f"{n}: {v}" for n, v in headers]]
    return send(server, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), device, port, method == "HEAD")


IDF = [("User-Agent", "ESP32 HTTP Client/1.0"), ("Content-Length", "0")]


class Esp32Updater(esp8266.Updater):
    """One device with HTTPUpdate of Arduino-ESP32 2.x."""

    sha256 = None

    def headers(self, mode="sketch"):
        mac = ":".join(self.mac[i:i + 2] for i in range(0, 12, 2)).upper()
        pairs = [
            ("Host", "127.0.0.1"), ("User-Agent", "ESP32-http-Update"), ("Connection", "keep-alive"),
            ("Cache-Control", "no-cache"), ("x-ESP32-STA-MAC", mac), ("x-ESP32-AP-MAC", mac),
            ("x-ESP32-free-space", str(self.free_space)), ("x-ESP32-sketch-size", str(len(self.image))),
            ("x-ESP32-sketch-md5", hashlib.md5(self.image).hexdigest()),
            ("x-ESP32-sketch-sha256", (self.sha256 or self.image[-32:]).hex().upper()),
            ("x-ESP32-chip-size", str(self.chip_size)), ("x-ESP32-sdk-version", "v4.4.5"), ("x-ESP32-mode", mode),
        ]
        if self.version is not None:
            pairs.append(("x-ESP32-version", self.version))
        return pairs


def state_of(server, device):
    return server.rest("GET", f"/devices/{device}")


__all__ = ["Answer", "Esp32Updater", "IDF", "Shelf", "connect", "esp32", "get", "packed", "send", "state_of"]
