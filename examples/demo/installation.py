"""One data folder: the daemon on it, the command line as a person uses it, and REST."""

import ctypes
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import time

START_S = 60
PORTS = {"console": 8443, "device": 8444, "mqtt": 8883}


class Failed(Exception):
    """Something did not hold; the text says what."""


def wait(what, check, seconds, every=0.25):
    """The first true value of check()."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s in vain: {what}")
        time.sleep(every)


PRCTL = ctypes.CDLL(None).prctl
PR_SET_PDEATHSIG = 1


def end_with_parent():
    """In a child: SIGTERM when this program ends, however it ends."""
    PRCTL(PR_SET_PDEATHSIG, signal.SIGTERM)


def spawn(words, log):
    """A child in a session of its own, so that Ctrl-C reaches it through us only."""
    with open(log, "ab") as out:
        return subprocess.Popen([str(word) for word in words], stdout=out, stderr=out, start_new_session=True,
                                preexec_fn=end_with_parent)


def end(process, seconds=20):
    """Ends a child by its process id; its exit code."""
    if process is None:
        return None
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def call(words, env=None, seconds=120):
    """A program that must succeed; what it printed."""
    words = [str(word) for word in words]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, env=env, check=False)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(words[:4])} … did not end within {seconds} s") from late
    if done.returncode != 0:
        raise Failed(f"{' '.join(words[:4])} … ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def taken(port):
    """True when something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return True
    return False


class Installation:
    """pagurusd on a data folder."""

    def __init__(self, build, data, free_ports):
        self.build, self.data, self.free_ports = build, data, free_ports
        self.work = data / "demo"
        self.root = data / "ca" / "root.pem"
        self.token_file = data / "admin-token"
        self.log = data / "pagurusd.log"
        self.passphrase = self.work / "passphrase"
        self.daemon = None
        self.ports = {}
        self.same_ports = {}  # of an earlier run: devices keep the address of the broker
        self.connection = None

    def url(self):
        return f"https://localhost:{self.ports['console']}"

    def pagurusd(self, verb, *words):
        # The whole fleet enrols from this machine's address.
        settings = ["--set", "limits.claims_per_minute=100000"]
        # For firmware without TLS; on this machine alone, and on ports of their own.
        for one in ("legacy.enabled=yes", "legacy.address=127.0.0.1", "legacy.port=0", "mqtt.plain=yes", "mqtt.plain_address=127.0.0.1",
                    "mqtt.plain_port=0"):
            settings += ["--set", one]
        if self.free_ports:
            for name in PORTS:
                settings += ["--set", f"{name}.port={self.same_ports.get(name, 0)}", "--set", f"{name}.address=127.0.0.1"]
        return [self.build / "pagurusd", verb, "--data", self.data, *settings, *words]

    def check_ports(self):
        """Before anything is made: the default ports are ours to take."""
        busy = [] if self.free_ports else [f"{port} ({name})" for name, port in PORTS.items() if taken(port)]
        if busy:
            raise Failed(f"port {', '.join(busy)} is in use by another program, perhaps by another ./run.\n"
                         f"See which with: ss -ltnp | grep -E ':({'|'.join(str(p) for p in PORTS.values())}) '\n"
                         "End it, or use ./run --demo, which takes free ports and a folder of its own.")

    def init(self):
        """Authority and admin token; the root key's passphrase is the demo's."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.work.mkdir(mode=0o700, exist_ok=True)
        self.passphrase.write_text("the demo's own passphrase\n")
        self.passphrase.chmod(0o600)
        out = call(self.pagurusd("init", "--json", "--names", "localhost,127.0.0.1", "--passphrase-file", self.passphrase))
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(json.loads(out)["token"] + "\n")

    def start(self):
        ports = self.data / "run" / "ports.json"
        ports.unlink(missing_ok=True)
        self.daemon = spawn(self.pagurusd("run"), self.log)

        def up():
            if self.daemon.poll() is not None:
                raise Failed(f"pagurusd ended with {self.daemon.returncode}; the end of {self.log}:\n"
                             f"{self.log.read_text()[-2000:]}")
            try:
                self.ports = json.loads(ports.read_text())
                return self.get("/readyz", token=False)[0] == 200
            except (OSError, ValueError, KeyError):
                return False

        wait(f"pagurusd gets ready (see {self.log})", up, START_S, every=0.05)

    def text(self, *words):
        """What the command line prints."""
        env = dict(os.environ, XDG_CONFIG_HOME=str(self.work / "config"), PAGURUS_SERVER=self.url(),
                   PAGURUS_CA=str(self.root), PAGURUS_TOKEN_FILE=str(self.token_file))
        return call([self.build / "pagurus", *words, "--no-input", "--yes"], env)

    def pagurus(self, *words):
        """The command line, as a person would use it; its JSON."""
        out = self.text(*words, "--json")
        return json.loads(out) if out.strip() else None

    def get(self, path, token=True):
        """Status and body; one connection is kept."""
        headers = {"Authorization": f"Bearer {self.token_file.read_text().strip()}"} if token else {}
        for fresh in (False, True):
            if self.connection is None or fresh:
                context = ssl.create_default_context(cafile=str(self.root))
                self.connection = http.client.HTTPSConnection("localhost", self.ports["console"], timeout=20, context=context)
            try:
                self.connection.request("GET", path, headers=headers)
                reply = self.connection.getresponse()
                return reply.status, reply.read()
            except (OSError, http.client.HTTPException):
                self.connection.close()
                self.connection = None
                if fresh:
                    raise
        raise AssertionError("not reached")

    def rest(self, path):
        status, body = self.get("/api/v1" + path)
        if status != 200:
            raise Failed(f"GET {path}: {status} {body[:300]!r}")
        return json.loads(body)

    def pages(self, path):
        """All items of a list."""
        items, cursor = [], ""
        while True:
            page = self.rest(f"{path}{'&' if '?' in path else '?'}limit=200{cursor}")
            items += page["items"]
            if not page.get("next_cursor"):
                return items
            cursor = "&cursor=" + page["next_cursor"]

    def cost(self):
        """What the daemon has taken so far: seconds of processor, and its largest memory in MiB."""
        words = pathlib.Path(f"/proc/{self.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks = int(words[11]) + int(words[12])
        peak = [line for line in pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines() if "VmHWM" in line]
        return ticks / os.sysconf("SC_CLK_TCK"), int(peak[0].split()[1]) / 1024

    def stop(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        end(self.daemon)
