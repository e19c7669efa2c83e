#!/usr/bin/env python3
"""HTTP core against nginx, side by side: cost a core-second.

    bench/http/run.py --build FOLDER [--short] [--json FILE]

Both servers run here at the same time with one worker, serve the same files with the same certificates and the
same TLS settings, and take turns under the same load. A figure is replies per CPU second (user + system) of the
server's processes; each cell is the median of 15 samples (7 with --short). The ratio is the median of those of
two samples taken one after the other, in turn the one and the other server first, so that what else the machine
does falls on both.
Before measuring, every transfer's bytes are compared with the file. Standard library only; needs nginx and
openssl in PATH. Exit 1: wrong bytes, or errors under load. Goals are printed, not enforced.
"""
import argparse
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")

NGINX = """
worker_processes 1; daemon off; pid {d}/nginx.pid; error_log {d}/error.log crit;
events {{ worker_connections 1024; use epoll; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000; keepalive_timeout 75;
  etag on; default_type application/octet-stream; server_tokens off; reset_timedout_connection off;
  client_body_temp_path {d}/t1; proxy_temp_path {d}/t2; fastcgi_temp_path {d}/t3; uwsgi_temp_path {d}/t4; scgi_temp_path {d}/t5;
  server {{
    listen 127.0.0.1:{port} reuseport; root {d}/files;
  }}
  server {{
    listen 127.0.0.1:{tls_port} ssl reuseport; root {d}/files;
    ssl_certificate {d}/srv.pem; ssl_certificate_key {d}/srv.key; ssl_client_certificate {d}/clientca.pem;
    ssl_verify_client optional; ssl_verify_depth 3; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256; ssl_prefer_server_ciphers on;
    ssl_ecdh_curve X25519:P-256; ssl_session_cache shared:s:10m; ssl_session_timeout 5m; ssl_session_tickets on;
    ssl_buffer_size 16k;
  }}
}}
"""

# name, mode of load, path, status, connections, TLS version, goal
ROWS = [
    ("static 304, kept connection", "keep", "/1k.bin", 304, 32, None, 1.0),
    ("1 MB plain", "keep", "/1m.bin", 200, 8, None, 1.0),
    ("1 MB TLS", "tls", "/1m.bin", 200, 8, "1.3", 1.0),
    ("full mTLS handshake, TLS 1.2", "handshake", "/1k.bin", 304, 16, "1.2", 1.1),
    ("full mTLS handshake, TLS 1.3", "handshake", "/1k.bin", 304, 16, "1.3", 1.1),
    ("resumed by session id, TLS 1.2", "resume", "/1k.bin", 304, 16, "1.2", 1.2),
    ("resumed by ticket, TLS 1.3", "resume", "/1k.bin", 304, 16, "1.3", 1.2),
]


def openssl(*args, cwd):
    subprocess.run(["openssl", *args], cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_certificates(d):
    """A root, an issuing CA for devices, a device and a server certificate; all P-256, as in the product."""
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    (d / "ca.ext").write_text("basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n")
    (d / "dev.ext").write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                               "extendedKeyUsage=clientAuth\n"
                               "subjectAltName=URI:urn:pagurus:0123456789abcdef:5ccf7f000001\n")
    (d / "srv.ext").write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                               "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost\n")
    openssl("req", "-x509", *new, "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=root", "-days", "30",
            "-addext", "basicConstraints=critical,CA:TRUE", cwd=d)
    for name, cn, ext, ca in (("devca", "device issuing", "ca.ext", "root"), ("dev", "5ccf7f000001", "dev.ext", "devca"),
                              ("srv", "localhost", "srv.ext", "root")):
        openssl("req", "-new", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={cn}", cwd=d)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "20", "-extfile", ext, cwd=d)
    (d / "clientca.pem").write_text((d / "devca.pem").read_text() + (d / "root.pem").read_text())
    for key in d.glob("*.key"):
        key.chmod(0o600)


def free_ports(n):
    socks = [socket.socket() for _ in range(n)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def cpu_seconds(pid):
    """User + system time of a process and its children (nginx: master and worker)."""
    total = 0
    for p in [pid] + [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]:
        fields = Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


class Server:
    def __init__(self, name, argv, ports, d):
        self.name, self.ports = name, ports
        self.process = subprocess.Popen(argv, cwd=d, stdout=subprocess.DEVNULL, stderr=sys.stderr)
        for port in ports:
            self.wait(port)

    def wait(self, port):
        ends = time.monotonic() + 5
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > ends or self.process.poll() is not None:
                    raise SystemExit(f"{self.name} does not listen on {port}")
                time.sleep(0.02)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def check_bytes(server, d):
    """Both kinds of port send exactly the file; returns the ETag of the small one."""
    context = ssl.create_default_context(cafile=d / "root.pem")
    context.load_cert_chain(d / "dev.pem", d / "dev.key")
    etag = None
    for name in ("1k.bin", "1m.bin"):
        want = hashlib.sha256((d / "files" / name).read_bytes()).digest()
        plain = http.client.HTTPConnection("127.0.0.1", server.ports[0], timeout=5)
        secure = http.client.HTTPSConnection("localhost", server.ports[1], timeout=5, context=context)
        for client in (plain, secure):
            client.request("GET", "/" + name)
            reply = client.getresponse()
            body = reply.read()
            if reply.status != 200 or hashlib.sha256(body).digest() != want:
                raise SystemExit(f"{server.name} sent wrong bytes of {name}")
            etag = reply.headers["ETag"] if name == "1k.bin" else etag
            client.close()
    return etag


def sample(load, server, row, etag, seconds, d):
    _, mode, path, status, conns, version, _ = row
    port = server.ports[0 if mode == "keep" else 1]
    argv = [load, mode, str(port), path, str(status), str(seconds), str(conns)]
    if version:
        argv += [str(d / "dev.pem"), str(d / "dev.key"), version]
    env = dict(os.environ)
    env.pop("ETAG", None)
    if status == 304:
        env["ETAG"] = etag
    before = cpu_seconds(server.process.pid)
    out = json.loads(subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout)
    spent = cpu_seconds(server.process.pid) - before
    if out["errors"] or out["n"] == 0 or (mode == "resume" and out["resumed"] < out["n"] - conns):
        raise SystemExit(f"{server.name}, {row[0]}: {out}")
    return out["n"] / spent


def measure(args, d):
    load, serve = (str(Path(args.build).resolve() / x) for x in ("bench_http_load", "bench_http_serve"))
    ports = free_ports(4)
    (d / "nginx.conf").write_text(NGINX.format(d=d, port=ports[2], tls_port=ports[3]))
    servers = []
    try:
        servers.append(Server("ours", [serve, str(d / "files"), str(ports[0]), str(ports[1]), str(d / "srv.pem"),
                                       str(d / "srv.key"), str(d / "clientca.pem")], ports[:2], d))
        servers.append(Server("nginx", [shutil.which("nginx") or "/usr/sbin/nginx", "-e", str(d / "error.log"), "-p", str(d),
                                        "-c", str(d / "nginx.conf")], ports[2:], d))
        etags = [check_bytes(s, d) for s in servers]
        rounds, seconds = (7, 0.3) if args.short else (15, 0.6)
        rows = []
        for row in ROWS:
            cells = [[], []]
            for turn in range(rounds):
                for i in (0, 1) if turn % 2 == 0 else (1, 0):
                    cells[i].append(sample(load, servers[i], row, etags[i], seconds, d))
            ours, theirs = (statistics.median(c) for c in cells)
            ratio = statistics.median(a / b for a, b in zip(*cells))
            rows.append({"row": row[0], "ours": ours, "nginx": theirs, "ratio": ratio, "goal": row[6], "samples": cells})
        return rows
    finally:
        for s in servers:
            s.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="folder with bench_http_load and bench_http_serve")
    parser.add_argument("--short", action="store_true", help="7 samples of 0.3 s: for a smoke test")
    parser.add_argument("--json", help="also write the samples to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-http-") as name:
        d = Path(name)
        d.chmod(0o755)  # nginx's worker is another user
        (d / "files").mkdir()
        (d / "files" / "1k.bin").write_bytes(os.urandom(1024))
        (d / "files" / "1m.bin").write_bytes(os.urandom(1 << 20))
        make_certificates(d)
        rows = measure(args, d)
    print(f"{'replies a CPU second of the server':36} {'ours':>10} {'nginx':>10} {'ratio':>7} {'goal':>7}")
    for r in rows:
        print(f"{r['row']:36} {r['ours']:10,.0f} {r['nginx']:10,.0f} {r['ratio']:6.2f}x {r['goal']:6.1f}x")
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
