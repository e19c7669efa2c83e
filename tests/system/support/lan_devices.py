"""Devices that wait for an update in their own network, as their firmware behaves on the wire.

Each listens on loopback until close(), keeps what it got in `flash`, and can misbehave: `fault` names a phase
("greeting", "auth", "data", …) at which it hangs up, `stall_s` is a pause at each write of flash.
"""

import gzip
import hashlib
import http.server
import json
import re
import secrets
import socket
import struct
import threading
import time
import urllib.parse


def md5(data):
    return hashlib.md5(data).hexdigest()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Device:
    """A thread that serves until close()."""

    host = "127.0.0.1"

    def __init__(self, password=None, stall_s=0, fault=None, room=4 << 20):
        self.password = password
        self.stall_s = stall_s
        self.fault = fault
        self.room = room
        self.flash = None       # the last image it took whole
        self.boots = 0
        self.pushes = 0         # that got beyond the password
        self.notes = []
        self.closing = threading.Event()
        self.open()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def close(self):
        self.closing.set()
        self.shut()
        self.thread.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self):
        while not self.closing.is_set():
            try:
                self.serve()
            except (OSError, AssertionError, Lost) as error:
                self.notes.append(repr(error))

    def stall(self):
        if self.stall_s:
            self.closing.wait(self.stall_s)

    def take(self, image):
        self.flash = image
        self.boots += 1


class Lost(Exception):
    """The peer has gone, or the fault that was asked for."""


def exactly(sock, n):
    data = b""
    while len(data) < n:
        piece = sock.recv(n - len(data))
        if not piece:
            raise Lost("hung up")
        data += piece
    return data


# ---- ArduinoOTA ------------------------------------------------------------------------------------------


class Espota(Device):
    """form: None (no password), "md5" or "sha256". kept: what the device has of its password."""

    def __init__(self, form=None, kept=None, split_ok=False, deaf=0, **more):
        self.form = form
        self.kept = kept        # "md5" with form "sha256": setPasswordHash of an older sketch
        self.split_ok = split_ok
        self.deaf = deaf        # invitations that are lost
        self.commands = []
        super().__init__(**more)

    def open(self):
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((self.host, 0))
        self.udp.settimeout(0.1)
        self.port = self.udp.getsockname()[1]

    def shut(self):
        pass

    def serve(self):
        try:
            said, peer = self.udp.recvfrom(512)
        except socket.timeout:
            if self.closing.is_set():
                self.udp.close()
            return
        if self.deaf > 0:
            self.deaf -= 1
            return
        command, port, size, digest = said.decode().strip().split(" ")
        self.commands.append(int(command))
        assert int(command) in (0, 100) and len(digest) == 32
        if self.fault == "strange":
            self.udp.sendto(b"\xff\x00 hello \x1b[31m", peer)
            return
        if self.form and not self.challenge(peer):
            return
        if int(size) > self.room:
            self.udp.sendto(b"ERR: ERROR[4]: Not Enough Space\n", peer)
            return
        if self.fault == "invitation":
            return
        self.udp.sendto(b"OK", peer)
        if self.fault == "connect":
            return
        self.pushes += 1
        with socket.create_connection((peer[0], int(port)), timeout=10) as sock:
            self.receive(sock, int(size), digest)

    def challenge(self, peer):
        hash_of = md5 if self.form == "md5" else sha256
        nonce = hash_of(secrets.token_bytes(8))
        if self.fault == "nonce":
            nonce = nonce[:-3]
        self.udp.sendto(b"AUTH " + nonce.encode(), peer)
        if self.fault == "auth":
            return False
        self.udp.settimeout(5)
        try:
            answer, _ = self.udp.recvfrom(512)
        finally:
            self.udp.settimeout(0.1)
        match = re.fullmatch(r"200 ([0-9a-f]+) ([0-9a-f]+)\n", answer.decode())
        if not match or len(match[1]) != len(nonce) or len(match[2]) != len(nonce):
            return False                                  # back to idle without a word, as the sketch does
        kept = (md5 if (self.kept or self.form) == "md5" else sha256)(self.password.encode())
        if self.form == "md5":
            want = md5(f"{kept}:{nonce}:{match[1]}".encode())
        else:
            key = hashlib.pbkdf2_hmac("sha256", kept.encode(), f"{nonce}:{match[1]}".encode(), 10000).hex()
            want = sha256(f"{key}:{nonce}:{match[1]}".encode())
        if match[2] != want:
            self.udp.sendto(b"Authentication Failed", peer)
            return False
        return True

    def receive(self, sock, size, digest):
        image = b""
        while len(image) < size:
            piece = sock.recv(1460)
            if not piece:
                raise Lost("sender went")
            image += piece
            self.stall()
            if self.fault == "data" and len(image) > size // 2:
                return
            if self.fault == "endless":
                while not self.closing.is_set():
                    sock.sendall(b"1" * 4096)
            if self.fault == "write" and len(image) > size // 2:
                sock.sendall(b"ERROR[1]: Flash Write Failed\n")
                return
            if self.fault == "garble":
                image = image[:-1] + b"?"
            sock.sendall(str(len(piece)).encode())
        if self.fault == "result":
            return
        if md5(image) != digest:
            sock.sendall(b"ERROR[7]: MD5 Failed: expected:x, calculated:y\n")
            return
        self.take(image)
        if self.split_ok:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(b"O")
            time.sleep(0.05)
            sock.sendall(b"K")
        else:
            sock.sendall(b"OK")


# ---- ESPHome ---------------------------------------------------------------------------------------------


class Esphome(Device):
    """version 1 or 2; form None, "md5" or "sha256"; packs: takes gzip."""

    def __init__(self, version=2, form=None, packs=False, error=None, **more):
        self.version = version
        self.form = form
        self.packs = packs
        self.error = error      # (phase, byte): says this error there
        self.was_packed = False
        super().__init__(**more)

    def open(self):
        self.tcp = socket.create_server((self.host, 0))
        self.tcp.settimeout(0.1)
        self.port = self.tcp.getsockname()[1]

    def shut(self):
        pass

    def serve(self):
        try:
            sock, _ = self.tcp.accept()
        except socket.timeout:
            if self.closing.is_set():
                self.tcp.close()
            return
        with sock:
            sock.settimeout(20)
            self.session(sock)

    def at(self, sock, phase):
        if self.fault == phase:
            raise Lost(phase)
        if self.error and self.error[0] == phase:
            sock.sendall(bytes([self.error[1]]))
            raise Lost(phase)

    def session(self, sock):
        self.at(sock, "greeting")
        assert exactly(sock, 5) == bytes.fromhex("6c26f75c45")
        sock.sendall(bytes([0, self.version]))
        self.at(sock, "features")
        features = exactly(sock, 1)[0]
        sock.sendall(b"\x46" if self.packs and features & 1 else b"\x40")
        self.at(sock, "auth")
        if self.form:
            n, hash_of, ask = (32, md5, 1) if self.form == "md5" else (64, sha256, 2)
            assert self.form == "md5" or features & 2
            nonce = hash_of(secrets.token_bytes(8))
            if self.fault == "nonce":
                nonce = "zz" + nonce[2:]
            sock.sendall(bytes([ask]) + nonce.encode())
            cnonce = exactly(sock, n).decode()
            result = exactly(sock, n).decode()
            if result != hash_of((self.password + nonce + cnonce).encode()):
                sock.sendall(b"\x82")
                return
        sock.sendall(b"\x41")
        self.at(sock, "size")
        size = struct.unpack(">I", exactly(sock, 4))[0]
        self.pushes += 1
        self.stall()
        if size > self.room:
            sock.sendall(b"\x88")
            return
        sock.sendall(b"\x42")
        self.at(sock, "md5")
        digest = exactly(sock, 32).decode()
        sock.sendall(b"\x43")
        image, told = b"", 0
        while len(image) < size:
            piece = sock.recv(min(1460, size - len(image)))
            if not piece:
                raise Lost("sender went")
            image += piece
            if len(image) > size // 2:
                self.at(sock, "data")
            while self.version == 2 and (told + 8192 <= len(image) or (len(image) == size and told < size)):
                told += 8192
                self.stall()
                sock.sendall(b"\x47")
        self.at(sock, "received")
        sock.sendall(b"\x44")
        self.at(sock, "ended")
        if md5(image) != digest:
            sock.sendall(b"\x8b")
            return
        self.was_packed = image[:2] == b"\x1f\x8b"
        self.take(gzip.decompress(image) if self.was_packed else image)
        sock.sendall(b"\x45")
        sock.recv(1)


# ---- upload pages ----------------------------------------------------------------------------------------

OLD_PAGE = ("<html><body><form method='POST' action='' enctype='multipart/form-data'>"
            "<input type='file' name='update'><input type='submit' value='Update'></form></body></html>")
NEW_PAGE = ("<!DOCTYPE html><html><body><form method='POST'><input type='file' accept='.bin' name='firmware'></form>"
            "<form method='POST'><input type='file' name='filesystem'></form></body></html>")


class Web(Device):
    """kind "old", "new" or "wled"; auth None, "basic" or "digest"."""

    def __init__(self, kind="new", auth=None, ver="0.14.0", becomes=None, locked=False, down_s=0, mac="84f3eb0000a1",
                 **more):
        self.kind = kind
        self.auth = auth
        self.ver = ver
        self.becomes = becomes      # version after an update; None: as before
        self.locked = locked
        self.down_s = down_s        # silence while it restarts
        self.up_at = 0
        self.mac = mac
        self.field = None
        self.uploads = 0            # bodies that came, also refused ones
        super().__init__(**more)

    def open(self):
        device = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                device.get(self)

            def do_POST(self):
                device.post(self)

        self.httpd = http.server.ThreadingHTTPServer((self.host, 0), Handler)
        self.httpd.daemon_threads = True
        self.port = self.httpd.server_address[1]

    def serve(self):
        self.httpd.serve_forever(0.05)

    def shut(self):
        self.httpd.shutdown()
        self.httpd.server_close()

    def reply(self, h, status, body, headers=()):
        if isinstance(body, str):
            body = body.encode()
        h.send_response(status)
        for name, value in headers:
            h.send_header(name, value)
        h.send_header("Content-Type", "text/html")
        h.send_header("Content-Length", str(len(body)))
        h.send_header("Connection", "close")
        h.end_headers()
        h.wfile.write(body)
        h.close_connection = True

    def admitted(self, h):
        said = h.headers.get("Authorization", "")
        if self.auth == "basic":
            import base64
            if said == "Basic " + base64.b64encode(f"admin:{self.password}".encode()).decode():
                return True
            self.reply(h, 401, "", [("WWW-Authenticate", 'Basic realm="Login Required"')])
            return False
        if self.auth == "digest":
            pairs = dict(re.findall(r'(\w+)="?([^",]+)"?', said))
            if said.startswith("Digest "):
                ha1 = md5(f"admin:{pairs['realm']}:{self.password}".encode())
                ha2 = md5(f"{h.command}:{pairs['uri']}".encode())
                want = md5(":".join([ha1, pairs["nonce"], pairs["nc"], pairs["cnonce"], pairs["qop"], ha2]).encode())
                if pairs["response"] == want:
                    return True
            self.reply(h, 401, "", [("WWW-Authenticate", 'Digest realm="asdf", qop="auth", nonce="' +
                                     secrets.token_hex(16) + '", opaque="' + secrets.token_hex(16) + '"')])
            return False
        return True

    def away(self, h):
        if time.monotonic() < self.up_at:
            h.connection.close()
            h.close_connection = True
            return True
        return False

    def get(self, h):
        if self.away(h):
            return
        if self.kind == "wled" and h.path == "/json/info":
            self.reply(h, 200, json.dumps({"ver": self.ver, "vid": 2400000, "arch": "esp8266", "brand": "WLED",
                                           "name": "Shelf", "mac": self.mac, "leds": {"count": 30}}))
        elif h.path != "/update":
            self.reply(h, 404, "Not found: " + h.path)
        elif self.admitted(h):
            self.reply(h, 200, OLD_PAGE if self.kind == "old" else NEW_PAGE)

    def post(self, h):
        if self.away(h):
            return
        if self.fault == "refuse":
            h.connection.close()
            h.close_connection = True
            return
        n = int(h.headers["Content-Length"])
        if self.fault == "data":
            h.rfile.read(n // 2)
            h.connection.close()
            h.close_connection = True
            return
        body = h.rfile.read(n)
        self.uploads += 1
        if not self.admitted(h):
            return
        self.stall()
        if self.kind == "wled" and self.locked:
            self.reply(h, 401, "Please unlock OTA in security settings!")
            return
        self.pushes += 1
        match = re.fullmatch(rb"--[^\r]+\r\n(.*?)\r\n\r\n(.*)\r\n--[^\r]+--\r\n", body, re.S)
        head, image = match[1].decode(), match[2]
        self.field = re.search(r'name="([^"]+)"', head)[1]
        assert 'filename="' in head
        self.answer(h, image)

    def answer(self, h, image):
        if self.fault == "endless":
            h.send_response(200)
            h.end_headers()
            while not self.closing.is_set():
                h.wfile.write(b"x" * 65536)
        wrong = len(image) > self.room or image[:1] != b"\xe9"
        if not wrong and self.fault != "result":
            self.take(image)
            self.ver = self.becomes or self.ver
            self.up_at = time.monotonic() + self.down_s
        if self.kind == "wled":
            self.reply(h, 500 if wrong else 200, "Update failed!" if wrong else "Update successful! Rebooting...")
        elif wrong and self.kind == "old":
            self.reply(h, 200, '<META http-equiv="refresh" content="15;URL=/">Update Failed!')
        elif wrong:
            self.reply(h, 200, "Update error: ERROR[4]: Not Enough Space\n")
        elif self.fault == "result":
            h.connection.close()
            h.close_connection = True
            return
        else:
            self.reply(h, 200, '<META http-equiv="refresh" content="15;URL=/">Update Success! Rebooting...')

# ---- multicast DNS ---------------------------------------------------------------------------------------


def name(text):
    return b"".join(bytes([len(label)]) + label for label in text) + b"\0"


def labels(dotted):
    return [label.encode() for label in dotted.split(".")]


def record(owner, kind, data, ttl=120):
    return name(owner) + struct.pack(">HHIH", kind, 0x8001 if kind != 12 else 1, ttl, len(data)) + data


def service_records(one):
    """PTR, SRV, TXT and A of {"service", "name", "host", "address", "port", "txt"}."""
    service = labels(one["service"] + ".local")
    instance = [one["name"].encode()] + service
    host = labels(one["host"] + ".local")
    txt = b"".join(bytes([len(pair)]) + pair for pair in (f"{k}={v}".encode() for k, v in one.get("txt", {}).items()))
    return [record(service, 12, name(instance)), record(instance, 33, struct.pack(">HHH", 0, 0, one["port"]) + name(host)),
            record(instance, 16, txt or b"\0"), record(host, 1, socket.inet_aton(one.get("address", "127.0.0.1")))]


class Responder(Device):
    """Answers every question with all it knows, to the port that asked. services: see service_records."""

    def __init__(self, services=(), garbage=b"", **more):
        self.services = list(services)
        self.garbage = garbage
        self.asked = 0
        super().__init__(**more)

    def open(self):
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((self.host, 0))
        self.udp.settimeout(0.1)
        self.port = self.udp.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def shut(self):
        pass

    def serve(self):
        try:
            said, peer = self.udp.recvfrom(2048)
        except socket.timeout:
            if self.closing.is_set():
                self.udp.close()
            return
        self.asked += 1
        if self.garbage:
            self.udp.sendto(self.garbage, peer)
        for one in list(self.services):
            records = service_records(one() if callable(one) else one)
            self.udp.sendto(said[:2] + struct.pack(">HHHHH", 0x8400, 0, len(records), 0, 0) + b"".join(records), peer)


# ---- Tasmota's pages ---------------------------------------------------------------------------------------


def tasmota_crc32(data):
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def tasmota_cover(plain):
    """SettingsBufferXor of settings.ino: everything but the first bytes, and nothing else."""
    first = 18 if len(plain) > 4096 else 2
    return plain[:first] + bytes(c ^ (0x5A + i & 0xFF) for i, c in enumerate(plain[first:], first))


def tasmota_settings(version=0x0D040000, chip=0, text=b"kitchen", drivers=None):
    """A configuration file; drivers: number -> contents."""
    s = bytearray(4096)
    s[0:4] = struct.pack("<HH", 4617, 4096)
    s[8:12] = struct.pack("<I", version)
    s[0xF36] = chip
    s[0x200:0x200 + len(text)] = text
    s[4092:] = struct.pack("<I", tasmota_crc32(s[:4092]))
    if not drivers:
        return tasmota_cover(bytes(s))
    rest = b""
    for number, data in drivers.items():
        body = struct.pack("<I", tasmota_crc32(data)) + data
        rest += b"/.drvset%03d" % number + bytes(3) + struct.pack("<H", len(body)) + body.ljust(len(body) // 16 * 16 + 16, b"\0")
    size = 16 + 4096 + len(rest)
    return tasmota_cover(b"/.settings".ljust(14, b"\0") + struct.pack("<H", size & 0xFFFF) + bytes(s) + rest)


class Tasmota(Web):
    """Web pages of a Tasmota: /dl, /rs, /u2 and /cm. old: 8.1, which wants the password for /cm in the URL."""

    SAID = {"en": ("Successful", "Failed"), "de": ("Erfolgreich", "Fehlgeschlagen")}

    def __init__(self, settings=None, version="13.4.0(tasmota)", hardware="ESP8266EX", old=False, language="en", minimal=False,
                 becomes_password=None, stays=False, **more):
        self.settings = settings if settings is not None else tasmota_settings()
        self.version, self.hardware, self.old, self.minimal = version, hardware, old, minimal
        self.language, self.becomes_password, self.stays = language, becomes_password, stays
        self.expects = "firmware"       # Web.upload_file_type
        self.began = time.monotonic() - 1000
        self.restores, self.upload_paths = 0, []
        super().__init__(auth="basic" if more.get("password") else None, **more)

    def answer(self, h, status, body, headers=()):
        self.reply(h, status, body, [("Server", "Tasmota/13.4.0 (ESP8266EX)"), *headers])

    def get(self, h):
        path, _, query = h.path.partition("?")
        if self.away(h):
            return
        if path == "/cm":
            self.command(h, dict(urllib.parse.parse_qsl(query)))
        elif self.minimal or path not in ("/dl", "/rs"):
            self.answer(h, 404, f"File Not Found\n\nURI: {path}")
        elif not self.admitted(h):
            return
        elif path == "/dl":
            data = self.settings if self.fault != "data" else self.settings[:1000]
            self.answer(h, 200, data, [("Content-Disposition", "attachment; filename=Config_tasmota_13.4.0.dmp")])
        else:
            self.expects = "settings"
            self.answer(h, 200, "<form method='post' action='u2?fsz=' enctype='multipart/form-data'><input type='file' name='u2'></form>")

    def command(self, h, query):
        if self.old and self.password and (query.get("user"), query.get("password")) != ("admin", self.password):
            self.answer(h, 200, '{"WARNING":"Need user=<username>&password=<password>"}')
            return
        if not self.old and not self.admitted(h):
            return
        up = int(time.monotonic() - self.began)
        self.answer(h, 200, json.dumps({
            "Status 2": {"StatusFWR": {"Version": self.version, "Hardware": self.hardware}},
            "Status 11": {"StatusSTS": {"UptimeSec": up}},
        }.get(query.get("cmnd"), {"Command": "Unknown"})))

    def post(self, h):
        body = h.rfile.read(int(h.headers["Content-Length"]))
        if self.away(h) or not self.admitted(h):
            return
        boundary = re.search(r"boundary=(\S+)", h.headers["Content-Type"]).group(1).encode()
        head, _, data = body.split(b"--" + boundary)[1].partition(b"\r\n\r\n")
        self.upload_paths.append(h.path)
        self.field, data = re.search(rb'name="([^"]+)"', head).group(1).decode(), data[:-2]
        error = self.take(data)
        good, bad = self.SAID[self.language]
        if error:
            page = f"<div style='text-align:center;'><b>Upload <font color='#ff0000'>{bad}</font></b><br><br>{error}</div><br>"
        else:
            page = (f"<script>setTimeout(function(){{location.href='.';}},9000);</script><div style='text-align:center;'>"
                    f"<b>Upload <font color='#008000'>{good}</font></b><br>Device will restart in a few seconds</div><br>")
        self.answer(h, 200, page)
        if not error and not self.stays:
            self.restart()

    def take(self, data):
        if self.expects != "settings":
            return "Magic byte is not 0xE9"
        plain = tasmota_cover(data)
        plain = plain[16:] if len(plain) > 4096 else plain
        if tasmota_crc32(plain[:4092]) != struct.unpack("<I", plain[4092:4096])[0] or \
                (plain[0xF36] == 0) != self.hardware.startswith("ESP82"):
            return "File invalid"
        self.settings, self.restores = data, self.restores + 1
        return None

    def restart(self):
        self.boots += 1
        self.began = time.monotonic()
        self.up_at = time.monotonic() + self.down_s
        self.password = self.becomes_password or self.password
        self.expects = "firmware"
