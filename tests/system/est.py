"""EST as a device speaks it (RFC 7030, RFC 8951), with nothing but openssl and curl."""

import pathlib
import re
import subprocess


def run(*words, data=None):
    done = subprocess.run(words, input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (words, done.stderr.decode(errors="replace"))
    return done.stdout


def openssl(*words, data=None):
    return run("openssl", *[str(w) for w in words], data=data)


class Answer:
    def __init__(self, raw):
        head, _, self.body = raw.rpartition(b"\r\n\r\n")
        head = head.split(b"\r\n\r\n")[-1].decode()      # behind an interim answer
        self.status = int(head.split()[1])
        self.headers = {n.lower(): v.strip() for n, v in re.findall(r"(?m)^([\w-]+):([^\r\n]*)", head)}

    @property
    def text(self):
        return self.body.decode()


class Client:
    """A folder with what a device keeps: key, request, certificate."""

    def __init__(self, server, folder, mac):
        self.server = server
        self.folder = pathlib.Path(folder) / mac
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mac = mac
        self.key = self.folder / "key.pem"
        self.csr = self.folder / "request.b64"
        self.cert = self.folder / "cert.pem"

    def make_key(self, *kind):
        kind = kind or ("EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        openssl("genpkey", "-algorithm", *kind, "-out", self.key)
        return self

    def make_request(self, subject=None, *more):
        """The request in base64, without the lines of PEM."""
        subject = f"/CN={self.mac}" if subject is None else subject
        der = openssl("req", "-new", "-key", self.key, "-subj", subject, "-outform", "DER", *more)
        self.csr.write_bytes(openssl("base64", data=der))
        return self

    def ask(self, operation, *more, label=None, post=True, url=None, mime="application/pkcs10"):
        base = url or f"https://localhost:{self.server.ports['device']}"
        path = "/".join([base + "/.well-known/est", *([label] if label else []), operation])
        words = ["curl", "-sS", "--http1.1", "-i", "--cacert", str(self.server.data / "ca" / "root.pem")]
        if post:
            words += ["--data-binary", f"@{self.csr}", "-H", f"Content-Type: {mime}",
                      "-H", "Content-Transfer-Encoding: base64"]
        return Answer(run(*words, *[str(m) for m in more], path))

    def enroll(self, claim, *more, user="", **how):
        return self.ask("simpleenroll", "-u", f"{user}:{claim}", *more, **how)

    def reenroll(self, *more, **how):
        return self.ask("simplereenroll", "--cert", self.cert, "--key", self.key, *more, **how)

    def keep(self, answer):
        """The certificate out of an answer, as PEM in cert."""
        assert answer.status == 200, (answer.status, answer.text)
        certs = certificates(answer)
        assert len(certs) == 1
        self.cert.write_text(certs[0])
        return self


def certificates(answer):
    """PEM of each certificate of a certs-only answer, as openssl reads it."""
    assert answer.headers["content-type"].startswith("application/pkcs7-mime")
    assert answer.headers["content-transfer-encoding"] == "base64"
    der = openssl("base64", "-d", data=answer.body)
    text = openssl("pkcs7", "-inform", "DER", "-print_certs", data=der).decode()
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.S)


def subject(pem):
    return openssl("x509", "-noout", "-subject", "-nameopt", "RFC2253", data=pem.encode()).decode().strip()
