"""ESP8266 images as the Arduino core builds them, made without a compiler, and requests as its updater sends them."""

import hashlib
import http.client
import socket
import struct

MAGIC = b"\x7fPAGURUS-ID\x01\r\n\x1a"


def identity(product, version, hardware="d1mini", epoch=0):
    """The marked block of docs/spec/image.md."""
    return struct.pack("<16s32s32s16sI28s", MAGIC, product.encode(), version.encode(), hardware.encode(), epoch, b"")


def _image(segments, mode, size_freq, entry):
    out = struct.pack("<BBBBI", 0xE9, len(segments), mode, size_freq, entry)
    check = 0xEF
    for address, data in segments:
        out += struct.pack("<II", address, len(data)) + data
        for byte in data:
            check ^= byte
    size = (len(out) + 16) & ~15
    return out + bytes(size - len(out) - 1) + bytes([check])


def arduino(product="meter", version="1.0.0", filler=20000, mode=2, size_freq=0x40, hardware="d1mini", ident=True,
            more=b""):
    """eboot at 0, sketch at 0x1000. mode: flash mode byte. size_freq: 0x40 is 4 MB at 40 MHz. more: in its data."""
    block = identity(product, version, hardware) if ident else b""
    body = block + hashlib.sha256(version.encode()).digest() * (filler // 32) + more
    body += bytes(-len(body) % 4)
    eboot = _image([(0x4010F000, bytes(64))], mode, size_freq, 0x4010F000)
    sketch = _image([(0x40100000, bytes(32)), (0x40201010, body)], mode, size_freq, 0x40100000)
    return eboot + bytes(0x1000 - len(eboot)) + sketch


def sketch_size(image):
    """As the device computes it from the header in flash."""
    return len(image)


class Updater:
    """One device with ESP8266httpUpdate: what it runs, and its requests."""

    def __init__(self, server, product, mac, image, version=None, free_space=1 << 20, chip_size=4 << 20):
        self.server = server
        self.path = f"/update/{product}"
        self.mac = mac
        self.image = image
        self.version = version
        self.free_space = free_space
        self.chip_size = chip_size

    def headers(self, mode="sketch"):
        """In the order and spelling of core 2.7."""
        mac = ":".join(self.mac[i:i + 2] for i in range(0, 12, 2)).upper()
        pairs = [
            ("Host", "127.0.0.1"), ("User-Agent", "ESP8266-http-Update"), ("Connection", "close"),
            ("x-ESP8266-Chip-ID", str(int(self.mac[6:], 16))), ("x-ESP8266-STA-MAC", mac),
            ("x-ESP8266-AP-MAC", mac), ("x-ESP8266-free-space", str(self.free_space)),
            ("x-ESP8266-sketch-size", str(sketch_size(self.image))),
            ("x-ESP8266-sketch-md5", hashlib.md5(self.image).hexdigest()),
            ("x-ESP8266-chip-size", str(self.chip_size)), ("x-ESP8266-sdk-version", "2.2.2-dev(38a443e)"),
            ("x-ESP8266-mode", mode),
        ]
        if self.version is not None:
            pairs.append(("x-ESP8266-version", self.version))
        return pairs + [("Content-Length", "0")]

    def raw(self, mode="sketch", path=None, extra=(), drop=(), http_version="1.0", device=None, port="device"):
        """The request byte for byte; the answer as (status, [(name, value)], body, rest) read until the peer closes."""
        names = {name.lower() for name in drop}
        lines = [f"GET {path or self.path} HTTP/{http_version}"]
        lines += [f"{n}: {v}" for n, v in [*self.headers(mode), *extra] if n.lower() not in names]
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        with socket.create_connection(("127.0.0.1", self.server.ports[port]), timeout=20) as plain:
            link = plain
            if port == "device":
                link = self.server.tls(device).wrap_socket(plain, server_hostname="localhost")
            link.sendall(request)
            answer = http.client.HTTPResponse(link, method="GET")
            answer.begin()
            body = answer.read(answer.length or 0) if answer.length else b""
            rest = b"" if answer.length == 0 else _rest(link)
            return answer.status, answer.getheaders(), body, rest


def _rest(link):
    try:
        return link.recv(64)
    except OSError:
        return b""
