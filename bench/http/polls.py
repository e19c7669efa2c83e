#!/usr/bin/env python3
"""No-update polls through the whole daemon with its database, and its memory when idle.

    bench/http/polls.py --build FOLDER [--short] [--json FILE]

Needs the Python of build/venv and wrk. One network thread; a figure is answered polls per CPU second (user + system) of
pagurusd, the median of 5 samples (3 with --short). httpUpdate: 1,000 devices that each have polled before, a new
connection a poll, HTTP/1.0 manners, plain. native: POST /v1/check over kept mutual-TLS connections, each sample another
device. Idle memory: resident set of pagurusd and of its mosquitto after start, two threads. Goals are printed, not enforced.
"""
import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/system"))
sys.path.insert(0, str(ROOT / "bench/http"))
import cborish  # noqa: E402
import conftest  # noqa: E402
import esp8266  # noqa: E402
import run as bench  # noqa: E402
import signing  # noqa: E402

FLEET = 1000
SETTINGS = ["legacy.enabled=true", "server.threads=1", "limits.claims_per_minute=10000", "limits.device_requests=0"]
LUA = """
local n = 0
function request()
  n = (n + 1) %% %d
  local low = string.format("%%06X", n)
  local mac = "5C:CF:7F:" .. low:sub(1, 2) .. ":" .. low:sub(3, 4) .. ":" .. low:sub(5, 6)
  return "GET /update/plug HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\nUser-Agent: ESP8266-http-Update\\r\\nConnection: close\\r\\n" ..
    "x-ESP8266-Chip-ID: " .. n .. "\\r\\nx-ESP8266-STA-MAC: " .. mac .. "\\r\\nx-ESP8266-AP-MAC: " .. mac ..
    "\\r\\nx-ESP8266-free-space: 1048576\\r\\nx-ESP8266-sketch-size: %d\\r\\nx-ESP8266-sketch-md5: %s" ..
    "\\r\\nx-ESP8266-chip-size: 4194304\\r\\nx-ESP8266-sdk-version: 2.2.2-dev(38a443e)\\r\\nx-ESP8266-mode: sketch" ..
    "\\r\\nx-ESP8266-version: 1.0.0\\r\\nContent-Length: 0\\r\\n\\r\\n"
end
"""


def wrk(port, script, seconds):
    """Answers of one run; anything but 304 is an error."""
    out = subprocess.run(["wrk", "-t1", "-c32", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}/"],
                         capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if bad:
        raise SystemExit(f"polls were refused: {out}")
    return int(re.search(r"(\d+) requests in", out).group(1))


def legacy(server, seconds, rounds, folder):
    image = esp8266.arduino("plug", "1.0.0")
    signing.Publisher(server, "plug", "esp8266", ("d1mini",), legacy_auth="none", plain_http=True).publish("1.0.0", image)
    script = folder / "poll.lua"
    script.write_text(LUA % (FLEET, len(image), hashlib.md5(image).hexdigest()))
    for _ in range(30):  # every device is known before the first sample
        wrk(server.ports["legacy"], script, 1)
        if server.rest("GET", "/devices?product=plug&limit=1")["total"]["value"] >= FLEET:
            break
    figures = []
    for _ in range(rounds):
        before = bench.cpu_seconds(server.process.pid)
        done = wrk(server.ports["legacy"], script, seconds)
        figures.append(done / (bench.cpu_seconds(server.process.pid) - before))
    return figures


def native(server, load, seconds, rounds, folder):
    image = (conftest.BUILD / "pagurus-posix-device-1.0.0").read_bytes()
    signing.Publisher(server, "thermometer").publish("1.0.0", image)
    body = cborish.dumps({1: hashlib.sha256(image).digest(), 2: "1.0.0", 3: 1, 4: 0, 5: 1, 6: 0, 7: 0, 8: 1 << 22, 9: 255, 10: b"posix",
                          11: 1, 13: 1})
    request = folder / "check.http"
    request.write_bytes(b"POST /v1/check HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/cbor\r\n"
                        b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    figures = []
    for n in range(rounds):
        device = server.enroll("thermometer", f"84f3eb{n:06x}")
        reply = device.request("POST", "/v1/check", body, {"Content-Type": "application/cbor"})
        assert reply.status == 204, (reply.status, reply.body)
        before = bench.cpu_seconds(server.process.pid)
        out = subprocess.run([load, "tls", str(server.ports["device"]), "/", "204", str(seconds), "16", device.cert_file,
                              device.key_file, "1.2"], env=dict(os.environ, REQUEST=str(request)), check=True,
                             capture_output=True, text=True)
        out = json.loads(out.stdout)
        if out["errors"] or not out["n"]:
            raise SystemExit(f"checks failed: {out}")
        figures.append(out["n"] / (bench.cpu_seconds(server.process.pid) - before))
    return figures


def idle_memory(folder):
    """MB resident of the daemon and of its broker, a second after both are up."""
    server = conftest.Server(folder).init().start()
    try:
        server.wait_ready()
        time.sleep(1)
        rss = []
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        for pid in [server.process.pid] + children + [server.rest("GET", "/status")["broker"]["pid"]]:
            text = Path(f"/proc/{pid}/status").read_text()
            rss.append((int(pid), int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024))
        return dict(rss)
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=Path)
    parser.add_argument("--short", action="store_true", help="3 samples of 1 s")
    parser.add_argument("--json", help="also write the samples to this file")
    args = parser.parse_args()
    conftest.BUILD = args.build.resolve()
    rounds, seconds = (3, 1) if args.short else (5, 2)
    with tempfile.TemporaryDirectory(prefix="bench-polls-") as name:
        folder = Path(name)
        (folder / "idle").mkdir()
        memory = idle_memory(folder / "idle")
        (folder / "load").mkdir()
        server = conftest.Server(folder / "load", "mqtt.mode=off", *SETTINGS).init().start()
        try:
            rows = {"no-update poll, httpUpdate, new connection": legacy(server, seconds, rounds, folder),
                    "no-update check, native, kept mutual TLS":
                        native(server, str(conftest.BUILD / "bench_http_load"), seconds, rounds, folder)}
        finally:
            server.stop()
    print(f"{'polls a CPU second of pagurusd, with database':46} {'median':>10} {'goal':>10}")
    for row, figures in rows.items():
        print(f"{row:46} {statistics.median(figures):10,.0f} {20000:10,}")
    print(f"{'idle memory with broker, MB':46} {sum(memory.values()):10.1f} {'< 64':>10}")
    if args.json:
        Path(args.json).write_text(json.dumps({"polls": rows, "idle_mb": memory}, indent=1))


if __name__ == "__main__":
    main()
