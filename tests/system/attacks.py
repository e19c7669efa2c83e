"""What the security tests share: forged certificates, raw connections, and a look at the process from outside."""

import datetime
import pathlib
import re
import socket
import ssl
import struct
import subprocess
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from conftest import Device

CBOR = {"Content-Type": "application/cbor"}
COSE = {"Content-Type": "application/cose"}
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
HOUR = datetime.timedelta(hours=1)


# ---- certificates ------------------------------------------------------------------------------------------


class Authority:
    """A CA that signs whatever it is asked to. Of a server: with the key that a thief would have."""

    def __init__(self, certificate, key):
        self.certificate = certificate
        self.key = key

    @classmethod
    def of(cls, server, name):
        """name: device-ca, server-ca or operator-ca."""
        folder = server.data / "ca"
        return cls(x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes()),
                   serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), None))

    @classmethod
    def foreign(cls):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Elsewhere device CA")])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                       .serial_number(x509.random_serial_number()).not_valid_before(now - HOUR)
                       .not_valid_after(now + 100 * HOUR)
                       .add_extension(x509.BasicConstraints(True, 0), True).sign(key, hashes.SHA256()))
        return cls(certificate, key)

    def key_identifier(self):
        try:
            own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())

    def issue(self, cn, begin=-HOUR, end=100 * HOUR, usage=(CLIENT,), ca=False, key=None, names=(), sans=()):
        """(certificate, key). cn: one text or several. begin, end: from now. names: further subject attributes."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        cns = [cn] if isinstance(cn, str) else cn
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, c, _validate=False) for c in cns] + list(names))
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.certificate.subject)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now + begin).not_valid_after(now + end)
                   .add_extension(x509.BasicConstraints(ca, None), True)
                   .add_extension(self.key_identifier(), False)
                   .add_extension(x509.KeyUsage(True, *[False] * 8), True))
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usage)), False)
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(sans)), False)
        return builder.sign(self.key, hashes.SHA256()), key


def identity(server, label, certificate, key, chain=()):
    """A Device that shows this certificate."""
    cert_file, key_file = server.folder / f"{label}.crt", server.folder / f"{label}.key"
    cert_file.write_bytes(b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (certificate, *chain)))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    return Device(server, label, str(cert_file), str(key_file))


# ---- raw connections ---------------------------------------------------------------------------------------


def context(server, device=None, lowest=ssl.TLSVersion.TLSv1_2, highest=ssl.TLSVersion.TLSv1_3):
    made = server.tls(device)
    made.minimum_version, made.maximum_version = lowest, highest
    return made


def connect(server, listener, device=None, tls=None, session=None, timeout=15):
    """A connected socket on a listener of ports.json; legacy is plain."""
    plain = socket.create_connection(("127.0.0.1", server.ports[listener]), timeout=timeout)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if listener == "legacy":
        return plain
    try:
        return (tls or context(server, device)).wrap_socket(plain, server_hostname="localhost", session=session)
    except BaseException:
        plain.close()
        raise


def read_all(link, timeout=15):
    """Everything until the peer closes; (bytes, closed)."""
    link.settimeout(timeout)
    parts = []
    try:
        while True:
            part = link.recv(65536)
            if not part:
                return b"".join(parts), True
            parts.append(part)
    except socket.timeout:
        return b"".join(parts), False
    except OSError:
        return b"".join(parts), True



def talk(server, listener, raw, device=None, timeout=15):
    """Sends raw bytes, reads until closed: (list of statuses, closed, everything)."""
    with connect(server, listener, device) as link:
        try:
            link.sendall(raw)
        except OSError:
            pass  # refused and closed before all was sent
        data, closed = read_all(link, timeout)
    return [int(s) for s in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)], closed, data


def s_client(server, listener, *options, feed=(), gap_s=0.02, linger_s=0.0, timeout=15):
    """openssl s_client; feed: lines, each written on its own, then the end after linger_s. Returns its whole output."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.ports[listener]}", "-servername", "localhost"]
    words += ["-CAfile", str(server.data / "ca" / "root.pem")]
    child = subprocess.Popen([*words, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
    timer = threading.Timer(timeout, child.kill)
    timer.start()
    pause = threading.Event()
    try:
        pause.wait(0.15 if feed else 0)
        for line in feed:
            pause.wait(gap_s)
            child.stdin.write(line)
            child.stdin.flush()
        pause.wait(linger_s)
    except BrokenPipeError:
        pass
    finally:
        try:
            out, _ = child.communicate()
        finally:
            timer.cancel()
    return out.decode("latin-1")


def enrol_request(claim, csr, mac, chip=255, hardware=b"posix"):
    return {1: claim, 2: csr, 3: mac, 4: chip, 5: hardware, 6: "0"}


def certificate_request(cn="", key=None, extensions=(), names=()):
    """(DER, key)."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, cn, _validate=False)] if cn else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject + list(names)))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER), key


# ---- the process from outside ------------------------------------------------------------------------------


def children(pid):
    """Ids of a process and all below it."""
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += children(int(child))
    return found


def listening(pid):
    """{(address, port)} of all TCP sockets that a process and its children listen on."""
    inodes = set()
    for one in children(pid):
        for link in pathlib.Path(f"/proc/{one}/fd").iterdir():
            try:
                found = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
            except FileNotFoundError:
                continue
            if found:
                inodes.add(found.group(1))
    out = set()
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                address, port = words[1].split(":")
                if table == "tcp":
                    address = socket.inet_ntoa(struct.pack("<I", int(address, 16)))
                out.add((address, int(port, 16)))
    return out


def resident_kb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def metric(server, name):
    text = server.console_request("GET", "/metrics", headers={"Authorization": "Bearer " + server.token}).body
    return [float(line.rsplit(" ", 1)[1]) for line in text.decode().splitlines() if line.startswith(name)][0]


def alive(server):
    assert server.process.poll() is None, server.log.read_text()[-3000:]
    assert server.console_request("GET", "/healthz").body == b"ok\n"


def in_parallel(jobs, width=16):
    """Runs callables on threads; their results in order; the first exception is raised."""
    results, failed, todo = [None] * len(jobs), [], iter(range(len(jobs)))
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                i = next(todo, None)
            if i is None:
                return
            try:
                results[i] = jobs[i]()
            except BaseException as error:  # noqa: BLE001  (handed to the caller)
                failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return results


# ---- MQTT 3.1.1, as little as an attacker needs -------------------------------------------------------------


def _packet(kind, body):
    length, n = b"", len(body)
    while True:
        length += bytes([n % 128 | (128 if n > 127 else 0)])
        n //= 128
        if n == 0:
            return bytes([kind]) + length + body


def _text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack(">H", len(raw)) + raw


class Mqtt:
    """A session at the server's broker with a device's certificate. Every write is raw; PUBACKs are counted."""

    def __init__(self, server, device, keepalive=60):
        self.device = device
        self.link = connect(server, "mqtt", device)
        self.link.sendall(_packet(0x10, _text("MQTT") + bytes([4, 2]) + struct.pack(">H", keepalive) + _text(device.id)))
        kind, body = self.read()
        if kind != 0x20 or body[1] != 0:
            raise ConnectionRefusedError(body)
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.link.close()

    def _exactly(self, n):
        out = b""
        while len(out) < n:
            part = self.link.recv(n - len(out))
            if not part:
                raise ConnectionResetError("closed by the broker")
            out += part
        return out

    def read(self):
        kind, length, shift = self._exactly(1)[0], 0, 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return kind & 0xF0, self._exactly(length)

    def topic(self, leaf):
        return leaf if isinstance(leaf, bytes) or leaf.startswith(("/", "$", "pg/")) else f"pg/v1/d/{self.device.id}/{leaf}"

    def publish(self, leaf, payload, qos=1, retain=False):
        """QoS 1 waits for the PUBACK."""
        self.number = self.number % 65535 + 1
        body = _text(self.topic(leaf)) + (struct.pack(">H", self.number) if qos else b"") + payload
        self.link.sendall(_packet(0x30 | qos << 1 | int(retain), body))
        while qos and self.read()[0] != 0x40:
            pass

    def subscribe(self, leaf):
        self.link.sendall(_packet(0x82, struct.pack(">H", 1) + _text(self.topic(leaf)) + b"\1"))
        while self.read()[0] != 0x90:
            pass

    def next_message(self, wait_s=5):
        """Payload of the next QoS 1 message, or None."""
        self.link.settimeout(wait_s)
        try:
            while True:
                kind, body = self.read()
                if kind == 0x30:
                    n = struct.unpack_from(">H", body)[0]
                    return body[4 + n:]
        except (socket.timeout, TimeoutError):
            return None
        finally:
            self.link.settimeout(15)
