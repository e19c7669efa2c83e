"""A device with the sketch secureESP8266 00.00.08.i, as docs/spec/secureesp8266.md describes it from outside: one
MQTT 3.1.1 session with a will, commands as the last level of a topic, HTTPS fetches between two sessions, and a
file system that keeps what it has fetched. Nothing here knows the server."""

import http.client
import json
import pathlib
import select
import socket
import ssl
import struct
import threading
import time


def _text(s):
    raw = s.encode()
    return struct.pack(">H", len(raw)) + raw


def _packet(kind, body):
    n, length = len(body), b""
    while True:
        length += bytes([n % 128 | (128 if n > 127 else 0)])
        n //= 128
        if n == 0:
            return bytes([kind]) + length + body


class Mqtt:
    """One session over TLS, used by one thread: poll() gives the next message as (topic, payload, retained)."""

    def __init__(self, host, port, context, client_id, will=None):
        raw = socket.create_connection((host, port), timeout=10)
        self.socket = context.wrap_socket(raw, server_hostname=host)
        flags = 0x02 | (0x04 if will else 0)
        body = _text("MQTT") + bytes([4, flags]) + struct.pack(">H", 15) + _text(client_id)
        if will:
            body += _text(will[0]) + _text(will[1])
        self.alive = True
        self.waiting = []
        self.socket.sendall(_packet(0x10, body))
        kind, answer = self._read()
        if kind != 0x20 or answer[1] != 0:
            self.socket.close()
            raise ConnectionError(f"CONNACK {answer.hex()}")

    def _exactly(self, n):
        out = b""
        while len(out) < n:
            part = self.socket.recv(n - len(out))
            if not part:
                raise ConnectionError("closed")
            out += part
        return out

    def _read(self):
        kind = self._exactly(1)[0]
        n, shift = 0, 0
        while True:
            byte = self._exactly(1)[0]
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        return kind, self._exactly(n)

    def _message(self, kind, body):
        n = struct.unpack(">H", body[:2])[0]
        return body[2:2 + n].decode(), body[2 + n:], bool(kind & 1)

    def subscribe(self, topic):
        self.socket.sendall(_packet(0x82, b"\0\1" + _text(topic) + b"\0"))
        while True:
            kind, body = self._read()
            if kind >> 4 == 9:
                return
            if kind >> 4 == 3:
                self.waiting.append(self._message(kind, body))

    def poll(self, wait_s):
        """The next message, None when none comes in time or the session has ended (then alive is False)."""
        if self.waiting:
            return self.waiting.pop(0)
        try:
            decrypted = self.socket.pending() if isinstance(self.socket, ssl.SSLSocket) else 0
            if decrypted == 0 and not select.select([self.socket], [], [], wait_s)[0]:
                return None
            kind, body = self._read()
        except (OSError, ValueError):
            self.alive = False
            return None
        return self._message(kind, body) if kind >> 4 == 3 else None

    def publish(self, topic, payload, retain=False):
        self.socket.sendall(_packet(0x31 if retain else 0x30, _text(topic) + payload))

    def disconnect(self, clean=True):
        self.alive = False
        try:
            if clean:
                self.socket.sendall(b"\xe0\0")
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class Sketch:
    """files: what is in its SPIFFS. slot: what flash() put behind the running sketch. verify: what the compiled-in
    key says of an image (None: fine, else the Update error text)."""

    BOARD = "ESP8266_WEMOS_D1MINIPRO"
    COMMANDS = ("reboot", "config", "cert", "key", "ca", "firmware", "flash")

    def __init__(self, mac, folder, ca, config, version="00.00.08.g", images=None, interval=0.2):
        self.mac, self.folder, self.version = mac, pathlib.Path(folder), version
        self.files = {"/ca.der": ca, "/config.json": json.dumps(config).encode()}
        self.images = images or {}      # bytes of an image -> the version it is
        self.interval, self.slot, self.error = interval, None, None
        self.verify = lambda image: None
        self.cut = None                 # the next download ends after so many bytes
        self.deaf = set()               # commands that get lost
        self.log = []
        self.uptime_offset = 0
        self.stopping = threading.Event()
        self.thread = None
        self.boot()

    # -- identity and TLS

    def identity(self, cert, key):
        self.files[f"/{self.mac}.crt.der"], self.files[f"/{self.mac}.key.der"] = cert, key

    def context(self):
        def put(name, data):
            path = self.folder / f"{self.mac}{name}"
            if not path.exists() or path.read_bytes() != data:
                fresh = path.with_name(f"{path.name}.{threading.get_ident()}")
                fresh.write_bytes(data)
                fresh.replace(path)
            return str(path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(put(".ca", self.files["/ca.der"]))
        if f"/{self.mac}.crt.der" in self.files:
            context.load_cert_chain(put(".c", self.files[f"/{self.mac}.crt.der"]),
                                    put(".k", self.files[f"/{self.mac}.key.der"]))
        return context

    # -- HTTPS

    def get(self, file):
        """Probe session first, then the request with the headers of core 2.6.3."""
        c = self.config
        probe = self.context().wrap_socket(socket.create_connection((c["downloadserver"], int(c["downloadport"])), 10),
                                           server_hostname=c["downloadserver"])
        probe.close()
        link = http.client.HTTPSConnection(c["downloadserver"], int(c["downloadport"]), timeout=20,
                                           context=self.context())
        try:
            link.putrequest("GET", c["downloadpath"] + file, skip_accept_encoding=True)
            for name, value in (("User-Agent", "ESP8266HTTPClient"), ("Connection", "keep-alive"),
                                ("Accept-Encoding", "identity;q=1,chunked;q=0.1,*;q=0")):
                link.putheader(name, value)
            link.endheaders()
            if self.cut is not None:
                link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reply = link.getresponse()
            if self.cut is not None and reply.status == 200:
                n, self.cut = self.cut, None
                return reply.status, reply.read(n)
            return reply.status, reply.read()
        finally:
            link.close()

    def download(self, file, name):
        self.mqtt.disconnect()
        self.error = None
        try:
            status, body = self.get(file)
        except ssl.SSLError:
            status, body = 0, b""
            self.error = "Updateserver-certificate doesn't match"
        self.log.append((file, status))
        if status == 200:
            self.files[name] = body
        self.connect()

    # -- what a command does

    def obey(self, command):
        if command in self.deaf:
            self.deaf.discard(command)
            return
        self.log.append(command)
        if command == "firmware":
            self.download(f"/firmware.bin?curimage={self.BOARD}-{self.version}", "/firmware.bin")
        elif command == "config":
            self.download("/config.json", "/config.json")
        elif command == "ca":
            self.download(f"/ca.crt?curimage={self.BOARD}-{self.version}", "/ca.crt")
        elif command == "cert":
            self.download(f"/{self.mac}.crt", f"/{self.mac}.crt")
        elif command == "key":
            self.download(f"/{self.mac}.key", f"/{self.mac}.key")
        elif command == "flash":
            image = self.files.get("/firmware.bin", b"")
            time.sleep(0.3)
            self.error = "ERROR[10]: Magic byte is wrong, not 0xE9" if image[:1] != b"\xe9" else self.verify(image)
            self.slot = image if self.error is None else None
        elif command == "reboot":
            if self.slot is not None:
                self.version = self.images.get(self.slot, self.version)
            self.mqtt.disconnect(clean=False)
            self.boot()
            self.connect()

    def boot(self):
        self.config = json.loads(self.files["/config.json"])
        self.started, self.slot, self.error = time.monotonic(), None, None

    # -- MQTT

    def connect(self):
        c = self.config
        self.mqtt = Mqtt(c["mqttserver"], int(c["mqttport"]), self.context(), self.mac,
                         (f"/will/{self.mac}", json.dumps({"espname": f"measure-{self.mac}"})))
        self.connected = time.monotonic()
        self.mqtt.subscribe(f"/command/{self.mac}/#")

    def status(self):
        now = time.monotonic()
        said = {"uptimemillis": int((now - self.started) * 1000 + self.uptime_offset) % 2**32, "maxmillis": 74,
                "mqttmillis": int((now - self.connected) * 1000) % 2**32, "espname": f"measure-{self.mac}",
                "espimage": f"{self.BOARD}-{self.version}", "espbuild": "Mar  8 2020 10:19:19",
                "espip": "192.168.1.182", "rssi": -65, "espfreeheap": 13512}
        if self.error:
            said["errormessage"] = self.error
        self.mqtt.publish(f"/status/{self.mac}", json.dumps(said).encode())

    def run(self):
        last = 0
        while not self.stopping.is_set():
            message = self.mqtt.poll(0.05)
            command = message[0].rsplit("/", 1)[1] if message else None
            try:
                if command in self.COMMANDS:
                    self.obey(command)
                if not self.mqtt.alive:
                    time.sleep(0.2)
                    self.connect()
            except OSError:
                self.mqtt.alive = False
                continue
            if time.monotonic() - last >= self.interval:
                last = time.monotonic()
                try:
                    self.status()
                except OSError:
                    pass

    def start(self):
        self.connect()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def stop(self, clean=True):
        self.stopping.set()
        if self.thread:
            self.thread.join(10)
        self.mqtt.disconnect(clean)
