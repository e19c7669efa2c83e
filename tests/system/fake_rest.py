"""A small stand-in for pagurusd's REST side (docs/spec/rest.md), so that the command line is tested against exact
answers and against failures that the real one seldom gives."""

import base64
import datetime
import hashlib
import http.server
import ipaddress
import json
import ssl
import threading
import time
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TOKEN = "pgt_abcdefghijkl_0123456789012345678901234567890123456789012_crc"


def make_certificates(folder):
    """Root, and a leaf for 127.0.0.1 signed by it. Returns (root_pem, chain_file, key_file)."""
    now = datetime.datetime.utcnow()
    root_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake root")])

    def build(subject, key, ca):
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(name).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                   .not_valid_after(now + datetime.timedelta(days=90))
                   .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True))
        if not ca:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        return builder.sign(root_key, hashes.SHA256())

    root = build(name, root_key, True)
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    leaf = build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]), leaf_key, False)
    chain, key = folder / "chain.pem", folder / "key.pem"
    pem = serialization.Encoding.PEM
    chain.write_bytes(leaf.public_bytes(pem))
    key.write_bytes(leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return root.public_bytes(pem), chain, key


class Fake:
    def __init__(self, folder):
        self.root_pem, chain, key = make_certificates(folder)
        der = ssl.PEM_cert_to_DER_cert(self.root_pem.decode())
        self.root_sha256 = hashlib.sha256(der).hexdigest()
        self.root_file = folder / "root.pem"
        self.root_file.write_bytes(self.root_pem)
        self.calls = []       # (method, path, headers, body)
        self.fail_next = []   # statuses to answer with first
        self.products = {}
        self.releases = {}
        self.blobs = {}
        self.manifests = []
        self.permits = []
        self.trust = {}
        self.devices = {}
        self.listeners = [{"name": "device", "address": "::", "port": 8444, "tls": True}]
        self.by_state = {}
        self.data = {}        # answer of GET /devices/ID/data
        self.problem_next = []  # (status, code, detail, more) to answer with first
        self.skew_s = 0
        self.slow = None      # event that a PUT of an image waits for
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def date_time_string(self, timestamp=None):
                return super().date_time_string((timestamp or time.time()) + fake.skew_s)

            def answer(self):
                try:
                    fake.handle(self)
                except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.httpd = Quiet(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self.httpd.socket = context.wrap_socket(self.httpd.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.httpd.server_address[1]}"
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()

    # -- answers -------------------------------------------------------------------------------------------

    def send(self, h, status, body, kind="application/json", headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        h.send_response(status)
        h.send_header("Content-Type", kind)
        h.send_header("Content-Length", str(len(data)))
        for k, v in headers:
            h.send_header(k, v)
        h.end_headers()
        h.wfile.write(data)

    def problem(self, h, status, code, detail, **more):
        self.send(h, status, {"type": f"urn:pagurus:problem:{code}", "title": code, "status": status, "detail": detail,
                              "code": code, "request_id": "req_1", "help": "do the other thing", **more},
                  "application/problem+json", [("Retry-After", "0")] if status in (429, 503) else [])

    def handle(self, h):
        path, _, query = h.path.partition("?")
        query = dict(urllib.parse.parse_qsl(query))
        body = h.rfile.read(int(h.headers.get("Content-Length") or 0))
        self.calls.append((h.command, h.path, dict(h.headers), body))
        if self.fail_next and path not in ("/healthz", "/api/v1/ca/root.pem"):
            return self.problem(h, self.fail_next.pop(0), "busy", "the queue is full")
        if self.problem_next:
            status, code, detail, more = self.problem_next.pop(0)
            return self.problem(h, status, code, detail, **more)
        if path == "/healthz":
            return self.send(h, 200, b"ok", "text/plain")
        if path == "/readyz":
            return self.send(h, 200, {"ready": True, "checks": {"store": "ok"}})
        if not path.startswith("/api/v1"):
            return self.problem(h, 404, "not-found", "no such page")
        path = path[7:]
        if path == "/ca/root.pem":
            return self.send(h, 200, self.root_pem, "application/x-pem-file")
        if h.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.problem(h, 401, "unauthenticated", "the token is not known")
        return self.route(h, path, query, body)

    def route(self, h, path, query, body):
        parts = path.strip("/").split("/")
        if path == "/whoami":
            return self.send(h, 200, {"actor": "token:admin", "role": "admin",
                                      "token": {"id": "tok_1", "name": "admin", "expires_at": None}})
        if path == "/status":
            return self.send(h, 200, {
                "version": "0.1.0", "root_exported": True, "broker": {"state": "running", "connected": True, "port": 1},
                "certificates": [{"name": "server", "subject": "CN=x", "not_after": "2046-01-01T00:00:00.000Z"}],
                "warnings": [], "devices": {"total": 2, "online": 1, "by_state": self.by_state, "by_version": []},
                "listeners": self.listeners})
        if path == "/freshness-key":
            point = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
                serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)[1:]
            return self.send(h, 200, {"key_id": "0" * 16, "point": point.hex(), "pem": ""})
        if path == "/ca":
            one = {"subject": "CN=root", "serial": "01", "not_after": "2046-01-01T00:00:00.000Z", "fingerprint": "ab" * 32}
            return self.send(h, 200, {"root": one, "device": one, "server": one, "operator": one,
                                      "crl": {"number": 3, "next_update": "2046-01-01T00:00:00.000Z"}})
        if path == "/events":
            after = int(query.get("after", 0))
            items = [{"seq": n, "at": "2026-03-01T11:04:10.000Z", "type": "release.published", "product": "meter",
                      "device": None, "actor": "token:admin", "data": {}} for n in range(after + 1, 4)]
            return self.send(h, 200, {"items": items, "next_after": 3})
        handler = getattr(self, "on_" + parts[0].replace("-", "_"), None)
        if handler is None:
            return self.problem(h, 404, "not-found", f"nothing at {path}")
        return handler(h, parts[1:], query, body)

    def list(self, h, items, query):
        limit, start = int(query.get("limit", 100)), int(query.get("cursor", 0))
        page = items[start:start + limit]
        more = str(start + limit) if start + limit < len(items) else None
        self.send(h, 200, {"items": page, "next_cursor": more,
                           "total": {"value": len(items), "relation": "exact"}})

    def on_enrollment(self, h, parts, query, body):
        if h.command == "POST":
            asked = json.loads(body)
            return self.send(h, 201, {"id": "code_1", "code": "ABCD-EFGH", "product": asked["product"],
                                      "uses_left": asked["uses"], "expires_at": "2046-01-01T00:00:00.000Z"})
        return self.list(h, [], query)

    def on_keys(self, h, parts, query, body):
        return self.send(h, 201, {"id": "key_1"}) if h.command == "POST" else self.list(h, [], query)

    def on_products(self, h, parts, query, body):
        if not parts and h.command == "GET":
            return self.list(h, list(self.products.values()), query)
        if not parts:
            asked = json.loads(body)
            if asked["name"] in self.products:
                return self.problem(h, 409, "product-exists", f"there is a product {asked['name']}")
            product = {"id": "prd_00112233445566" + f"{len(self.products):02x}", "slot_bytes": None, "trust_version": 0,
                       "created_at": "2026-03-01T11:04:10.000Z", "settings": {"poll_s": 300}, "hardware": [], **asked}
            self.products[asked["name"]] = product
            return self.send(h, 201, product)
        product = self.products.get(parts[0])
        if product is None:
            return self.problem(h, 404, "not-found", f"no product {parts[0]}")
        if len(parts) == 3 and parts[1] == "trust-sets":
            if h.command == "PUT":
                self.trust[(parts[0], int(parts[2]))] = body
                product["trust_version"] = int(parts[2])
                return self.send(h, 201, {})
            return self.send(h, 200, self.trust[(parts[0], int(parts[2]))], "application/cose")
        if h.command == "PATCH":
            product["settings"].update(json.loads(body)["settings"])
        return self.send(h, 200, product)

    def on_releases(self, h, parts, query, body):
        if not parts and h.command == "GET":
            items = [r for r in self.releases.values() if query.get("product") in (None, r["product"])]
            return self.list(h, items, query)
        if not parts:
            asked = json.loads(body)
            rid = f"rel_{len(self.releases) + 1}"
            sequence = 1 + max((r["sequence"] for r in self.releases.values()), default=0)
            self.releases[rid] = {"id": rid, "state": "draft", "sequence": sequence, "epoch": 0, "images": [],
                                  "counts": {}, "published_at": None, "created_at": "2026-03-01T11:04:10.000Z", **asked}
            return self.send(h, 201, self.releases[rid])
        rid, _, verb = parts[0].partition(":")
        release = self.releases.get(rid)
        if release is None:
            return self.problem(h, 404, "not-found", f"no release {rid}")
        if verb:
            release["state"] = {"publish": "published", "withdraw": "withdrawn"}[verb]
            return self.send(h, 200, release)
        if len(parts) == 1:
            return self.send(h, 200, release)
        if parts[1] == "reach":
            return self.send(h, 200, {"total": 3, "will_update": 2, "up_to_date": 0,
                                      "blocked": [{"reason": "no slot", "count": 1, "example": "pump-1"}]})
        if parts[1] == "manifests":
            self.manifests.append(body)
            return self.send(h, 201, {})
        if parts[1] == "permits":
            self.permits.append(body)
            return self.send(h, 201, {})
        if h.command == "PUT":
            if self.slow is not None:
                self.slow.wait(5)
            digest = hashlib.sha256(body).digest()
            if h.headers["Repr-Digest"] != "sha-256=:" + base64.b64encode(digest).decode() + ":":
                return self.problem(h, 422, "image-refused", "digest differs")
            self.blobs[(rid, parts[2])] = body
            image = {"id": "img_1", "name": parts[2], "bytes": len(body), "sha256": digest.hex(), "signed_by": None}
            release["images"] = [i for i in release["images"] if i["name"] != parts[2]] + [image]
            return self.send(h, 201, image)
        return self.send(h, 200, self.blobs[(rid, parts[2])], "application/octet-stream")

    def on_devices(self, h, parts, query, body):
        if not parts:
            q = query.get("q", "")
            items = [d for d in self.devices.values() if d["id"].startswith(q) or d["name"].startswith(q)]
            return self.list(h, items, query)
        did, _, verb = parts[0].partition(":")
        device = self.devices.get(did)
        if device is None:
            return self.problem(h, 404, "not-found", f"no device {did}")
        if verb == "revoke":
            device["state"] = "revoked"
            return self.send(h, 200, device)
        if h.command == "PATCH":
            device.update(json.loads(body))
        if len(parts) == 2 and parts[1] == "data":
            return self.send(h, 200, self.data)
        if len(parts) == 2 and parts[1] == "commands" and h.command == "POST":
            return self.send(h, 201, {"id": "cmd_1", "state": "queued"})
        states = device.pop("script", None)
        if states:
            device.update(states[0])
            device["script"] = states[1:]
        return self.send(h, 200, {k: v for k, v in device.items() if k != "script"})
