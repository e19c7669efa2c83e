"""mosquitto's own programs against the listeners with passwords of a running server."""

import pathlib
import socket
import struct
import subprocess
import time

import secureesp


class Session(secureesp.Mqtt):
    """One session without TLS, with a password and a retained will, used by one thread. A client of 3.1.1, QoS 0."""

    def __init__(self, port, account, will):
        text = secureesp._text
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.alive, self.waiting = True, []
        body = text("MQTT") + bytes([4, 0xE6]) + struct.pack(">H", 30) + text("DVES_123456")
        body += text(will[0]) + text(will[1]) + text(account[0]) + text(account[1])
        self.socket.sendall(secureesp._packet(0x10, body))
        kind, answer = self._read()
        if kind != 0x20 or answer[1] != 0:
            self.socket.close()
            raise ConnectionError(f"CONNACK {answer.hex()}")


class Clients:
    def __init__(self, server, port="mqtt_plain"):
        self.server, self.port, self.children = server, port, []

    def arguments(self, user, password, client_id="any", port=None):
        port = port or self.port
        tls = [] if port == "mqtt_plain" else ["--cafile", str(self.server.data / "ca" / "root.pem")]
        who = ["-u", user, "-P", password] if user else []
        return ["-h", "localhost", "-p", str(self.server.ports[port]), "-i", client_id, *tls, *who]

    def publish(self, account, topic, text, *more, client_id="any", port=None):
        return subprocess.run(["mosquitto_pub", *self.arguments(*account, client_id, port), "-t", topic, "-m", text, "-q", "1", *more],
                              capture_output=True, text=True, timeout=20, check=False)

    def subscribe(self, account, *filters, more=(), client_id="any", port=None):
        out = open(self.server.folder / f"sub-{time.monotonic_ns()}", "w+b")
        topics = [word for one in filters for word in ("-t", one)]
        child = subprocess.Popen(["stdbuf", "-oL", "mosquitto_sub", *self.arguments(*account, client_id, port), "-v", "-q", "1",
                                  *topics, *more], stdout=out, stderr=subprocess.STDOUT)
        child.seen = lambda: pathlib.Path(out.name).read_text(errors="replace")
        self.children.append(child)
        return child

    def as_server(self, *filters, seconds=2, more=()):
        """What the server's own identity receives: retained messages, and what comes within that time."""
        tls = self.server.data / "tls"
        got = subprocess.run(["mosquitto_sub", "-h", "localhost", "-p", str(self.server.ports["mqtt"]), "-i", "x", "-v",
                              "--cafile", str(self.server.data / "ca" / "root.pem"), "--cert", str(tls / "svc.pem"),
                              "--key", str(tls / "svc.key"), "-W", str(seconds),
                              *[w for f in filters for w in ("-t", f)], *more],
                             capture_output=True, text=True, timeout=30, check=False)
        return got.stdout

    def end(self):
        for child in self.children:
            child.kill()
            child.wait()
        self.children.clear()


def wait(check, seconds=40, what="it happens"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")
