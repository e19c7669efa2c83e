"""A real pagurusd for each test module: own data folder, free ports, ended by its process id.

    def test_x(server):            # started, admin token at hand
        server.rest("GET", "/products")
        device = server.enroll("meter", mac="84f3eb000003")
        device.request("POST", "/v1/check", body)

The programs are taken from $PAG_BUILD (default build/dev). $PAG_KEEP=1 keeps the data folder.
"""

import base64
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import tempfile
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import cborish

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PAG_BUILD", ROOT / "build" / "dev")).resolve()
PASSPHRASE = "correct horse battery staple"


def pytest_configure(config):
    config.addinivalue_line("markers", "client(name, version, case): stands for this row of tests/compat/clients.tsv")


class Reply:
    """Status, headers (names lower-case; a list each) and body of one answer."""

    def __init__(self, raw):
        self.status = raw.status
        self.version = raw.version
        self.headers = {}
        for name, value in raw.getheaders():
            self.headers.setdefault(name.lower(), []).append(value)
        self.body = raw.read()

    def header(self, name):
        return self.headers.get(name.lower(), [None])[0]

    @property
    def json(self):
        return json.loads(self.body)


class Device:
    """An enrolled device: key and certificate files, and requests with them."""

    def __init__(self, server, device_id, cert_file, key_file):
        self.server = server
        self.id = device_id
        self.cert_file = cert_file
        self.key_file = key_file
        self.enrolled = {}

    def request(self, method, path, body=None, headers=None):
        return self.server.device_request(method, path, body, headers, self)


class Server:
    """One data folder and the daemon on it."""

    def __init__(self, folder, *settings):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.settings = list(settings)
        self.process = None
        self.ports = {}
        self.token = None
        self.log = self.folder / "pagurusd.log"

    # -- the program ---------------------------------------------------------------------------------------

    def command(self, verb, *more):
        words = [str(BUILD / "pagurusd"), verb, "--data", str(self.data)]
        for setting in ["console.port=0", "device.port=0", "legacy.port=0", "mqtt.port=0",
                        "console.address=127.0.0.1", "device.address=127.0.0.1", "mqtt.address=127.0.0.1",
                        "legacy.address=127.0.0.1", "server.threads=2",
                        "limits.claims_per_minute=100000", *self.settings]:
            words += ["--set", setting]
        return words + list(more)

    def init(self, names="localhost,127.0.0.1"):
        secret = self.folder / "passphrase"
        secret.write_text(PASSPHRASE + "\n")
        secret.chmod(0o600)
        done = subprocess.run(self.command("init", "--json", "--names", names, "--passphrase-file", str(secret)),
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        self.token = json.loads(done.stdout)["token"]
        return self

    def start(self, wait_s=20):
        ports = self.data / "run" / "ports.json"
        ports.unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command("run"), stdout=log, stderr=log)
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError("pagurusd ended early:\n" + self.log.read_text()[-4000:])
            if ports.exists():
                self.ports = json.loads(ports.read_text())
                try:
                    if self.console_request("GET", "/healthz").status == 200:
                        return self
                except OSError:
                    pass
            time.sleep(0.02)
        raise AssertionError("pagurusd did not get ready:\n" + self.log.read_text()[-4000:])

    def wait_ready(self, wait_s=15):
        """Until /readyz says so (the broker included)."""
        self.until(lambda: self.console_request("GET", "/readyz").status == 200, wait_s)

    def stop(self, sig=signal.SIGTERM, wait_s=15):
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, sig)
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                os.kill(self.process.pid, signal.SIGKILL)
                self.process.wait(5)
                raise
        code = self.process.returncode if self.process is not None else None
        self.process = None
        return code

    @staticmethod
    def until(check, wait_s=10, every_s=0.05):
        end = time.monotonic() + wait_s
        while True:
            value = check()
            if value:
                return value
            assert time.monotonic() < end, "waited in vain"
            time.sleep(every_s)

    # -- requests ------------------------------------------------------------------------------------------

    def tls(self, device=None):
        context = ssl.create_default_context(cafile=str(self.data / "ca" / "root.pem"))
        if device is not None:
            context.load_cert_chain(device.cert_file, device.key_file)
        return context

    @staticmethod
    def exchange(connection, method, path, body=None, headers=None):
        try:
            connection.request(method, path, body, headers or {})
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def console_request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPSConnection("localhost", self.ports["console"], timeout=20, context=self.tls())
        return self.exchange(connection, method, path, body, headers)

    def device_request(self, method, path, body=None, headers=None, device=None):
        connection = http.client.HTTPSConnection("localhost", self.ports["device"], timeout=20,
                                                 context=self.tls(device))
        return self.exchange(connection, method, path, body, headers)

    def plain_request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["legacy"], timeout=20)
        return self.exchange(connection, method, path, body, headers)

    def call(self, method, path, body=None, headers=None, token=None):
        """One REST call; any status. body: JSON value, or bytes with a Content-Type in headers."""
        headers = dict(headers or {})
        headers.setdefault("Authorization", "Bearer " + (token or self.token))
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        return self.console_request(method, "/api/v1" + path, body, headers)

    def rest(self, method, path, body=None, headers=None, token=None):
        """The same; must succeed. Returns the JSON value (None without a body)."""
        reply = self.call(method, path, body, headers, token)
        assert 200 <= reply.status < 300, (method, path, reply.status, reply.body)
        return reply.json if reply.body else None

    # -- shorthands ----------------------------------------------------------------------------------------

    def product(self, name="meter", chip="posix", hardware=("posix",), **settings):
        return self.rest("POST", "/products", {"name": name, "chip": chip, "hardware": list(hardware),
                                               "settings": settings})

    def upload(self, release_id, image, name="firmware"):
        digest = base64.b64encode(hashlib.sha256(image).digest()).decode()
        return self.call("PUT", f"/releases/{release_id}/images/{name}", image,
                         {"Content-Type": "application/octet-stream", "Repr-Digest": f"sha-256=:{digest}:"})

    def enroll(self, product, mac, chip=255, hardware=b"posix", version="0"):
        """One-time claim, key, request, certificate: as a device does it."""
        code = self.rest("POST", "/enrollment/codes", {"product": product, "uses": 1, "ttl_s": 600})["code"]
        key = ec.generate_private_key(ec.SECP256R1())
        csr = (x509.CertificateSigningRequestBuilder()
               .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, mac)]))
               .sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
        body = cborish.dumps({1: code, 2: csr, 3: mac, 4: chip, 5: hardware, 6: version})
        reply = self.device_request("POST", "/v1/enroll", body, {"Content-Type": "application/cbor"})
        assert reply.status == 200, (reply.status, reply.body)
        enrolled = cborish.loads(reply.body)
        cert_file = self.folder / f"{mac}.crt"
        key_file = self.folder / f"{mac}.key"
        chain = [x509.load_der_x509_certificate(enrolled[n]) for n in (2, 3)]
        cert_file.write_bytes(b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain))
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                               serialization.NoEncryption()))
        key_file.chmod(0o600)
        device = Device(self, enrolled[1], str(cert_file), str(key_file))
        device.enrolled = enrolled
        return device


@pytest.fixture(scope="module")
def make_server():
    """make_server("section.key=value", …) gives a server with an initialised data folder, not started."""
    folders, servers = [], []

    def make(*settings):
        folder = tempfile.mkdtemp(prefix="pagurus-test-")
        folders.append(folder)
        servers.append(Server(folder, *settings).init())
        return servers[-1]

    yield make
    for one in servers:
        one.stop()
    for folder in folders:
        if not os.environ.get("PAG_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server(make_server):
    """A running server without a broker: what HTTP tests need."""
    return make_server("mqtt.mode=off").start()


@pytest.fixture(scope="module")
def server_mqtt(make_server):
    """A running server with its broker."""
    one = make_server().start()
    one.wait_ready()
    return one
