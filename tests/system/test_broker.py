"""Who may do what at the managed broker, seen by mosquitto's own clients (docs/operating/broker.md).

Runs the real broker code by tests/support/broker_host.c; a name like B4 is a row of the threat table.
"""

import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PAG_BUILD", ROOT / "build" / "dev")).resolve()
MOSQUITTO = "/usr/sbin/mosquitto"


class Broker:
    def __init__(self, folder):
        self.folder = folder
        self.log = open(folder / "log", "w+b")
        self.child = subprocess.Popen([BUILD / "broker_host", folder / "data", MOSQUITTO, BUILD / "pagurus_mosquitto.so"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1)
        self.children = []
        first = self.child.stdout.readline()
        assert first.startswith("ok state=running"), first + self.log_text()
        self.port = self.status()["port"]
        self.ca = folder / "data" / "ca" / "root.pem"
        wait(lambda: self.status()["mqtt"] == "2", 5, "the server's own client connects")

    def tell(self, line):
        self.child.stdin.write(line + "\n")
        return self.child.stdout.readline().strip()

    def must(self, line):
        answer = self.tell(line)
        assert answer.startswith("ok"), f"{line}: {answer}"
        return answer[3:]

    def status(self):
        return dict(word.split("=", 1) for word in self.must("status").split()[:6])

    def log_text(self):
        self.log.flush()
        return (self.folder / "log").read_text()

    def issue(self, cn):
        prefix = self.folder / f"{cn}-{time.monotonic_ns()}"
        self.must(f"issue {cn} {prefix}")
        return prefix

    def arguments(self, who):
        return ["-h", "127.0.0.1", "-p", self.port, "--cafile", self.ca, "-i", "any",  # replaced by the CN
                *(["--cert", f"{who}.crt", "--key", f"{who}.key"] if who else [])]

    def publish(self, who, topic, text, *more, timeout=5):
        return subprocess.run(["mosquitto_pub", *self.arguments(who), "-t", topic, "-m", text, "-q", "1", *more],
                              capture_output=True, text=True, timeout=timeout, check=False)

    def subscribe(self, who, *filters, more=()):
        out = open(self.folder / f"sub-{time.monotonic_ns()}", "w+b")
        topics = [word for one in filters for word in ("-t", one)]
        child = subprocess.Popen(["stdbuf", "-oL", "mosquitto_sub", *self.arguments(who), "-v", "-q", "1", *topics, *more],
                                 stdout=out, stderr=subprocess.STDOUT)
        child.seen = lambda: pathlib.Path(out.name).read_text()
        self.children.append(child)
        return child

    def end_clients(self):
        for child in self.children:
            child.kill()
            child.wait()
        self.children.clear()

    def close(self):
        self.child.stdin.close()
        assert self.child.wait(20) == 0, self.log_text()


def wait(check, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


@pytest.fixture(scope="module")
def broker():
    if not os.access(MOSQUITTO, os.X_OK):
        pytest.skip("no mosquitto")
    with tempfile.TemporaryDirectory(prefix="pag-broker-") as folder:
        broker = Broker(pathlib.Path(folder))
        yield broker
        broker.close()


@pytest.fixture(autouse=True)
def no_clients_left(broker):
    """Two clients of one name throw each other out, also those of two tests."""
    yield
    broker.end_clients()


def joined(broker, sub, who, topic="pg/v1/d/{}/cmd"):
    """The subscription is in force once the server's message arrives."""
    name = who.name.rsplit("-", 1)[0]
    wait(lambda: (broker.must(f"publish {topic.format(name)} hello"), time.sleep(0.1), "hello" in sub.seen())[2], 5,
         "own command arrives")


def test_the_servers_message_reaches_the_device_and_back(broker):
    a = broker.issue("dev-a")
    sub = broker.subscribe(a, "pg/v1/d/dev-a/cmd")
    joined(broker, sub, a)
    assert broker.publish(a, "pg/v1/d/dev-a/up/data/t", "21.5").returncode == 0
    wait(lambda: "pg/v1/d/dev-a/up/data/t=21.5" in broker.must("received"), 3, "reading arrives")


def test_a_command_arrives_within_a_second(broker):
    a = broker.issue("dev-quick")
    sub = broker.subscribe(a, "pg/v1/d/dev-quick/cmd")
    joined(broker, sub, a)
    begin = time.monotonic()
    broker.must("publish pg/v1/d/dev-quick/cmd now")
    wait(lambda: "now" in sub.seen(), 1, "command arrives")
    print(f"command took {1000 * (time.monotonic() - begin):.0f} ms")


def test_b1_no_certificate_no_session(broker):
    assert broker.publish(None, "pg/v1/d/dev-a/up/x", "1").returncode != 0
    assert broker.publish(None, "pg/v1/d/dev-a/up/x", "1", "-u", "dev-a", "-P", "x").returncode != 0


def test_b1_plain_tcp_is_refused(broker):
    connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"
    with socket.create_connection(("127.0.0.1", int(broker.port)), timeout=5) as plain:
        plain.sendall(connect)
        try:
            assert b"\x20\x02\x00\x00" not in plain.recv(64)
        except ConnectionError:
            pass


@pytest.mark.parametrize("cn", ["dev-a", "svc-pagurusd", "#", "+", "dev-a/x"])
def test_b2_b3_b18_a_foreign_certificate_is_refused(broker, cn):
    prefix = broker.folder / f"foreign-{time.monotonic_ns()}"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=" + cn.replace("/", "\\/"), "-keyout", f"{prefix}.key", "-out", f"{prefix}.crt"],
                   check=True, capture_output=True)
    assert broker.publish(prefix, "pg/v1/d/dev-a/cmd", "evil").returncode != 0


def sign(broker, authority, cn, usage):
    """A certificate of another authority of this installation, made by openssl with that authority's key."""
    prefix = broker.folder / f"{authority}-{time.monotonic_ns()}"
    ca = broker.folder / "data" / "ca" / f"{authority}-ca"
    extensions = broker.folder / "extensions"
    extensions.write_text(f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n")
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=" + cn.replace("/", "\\/"), "-keyout", f"{prefix}.key", "-out", f"{prefix}.csr"],
                   check=True, capture_output=True)
    subprocess.run(["openssl", "x509", "-req", "-in", f"{prefix}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
                    "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", f"{prefix}.leaf"],
                   check=True, capture_output=True)
    pathlib.Path(f"{prefix}.crt").write_text(pathlib.Path(f"{prefix}.leaf").read_text() + pathlib.Path(f"{ca}.pem").read_text())
    return prefix


@pytest.mark.parametrize("authority,usage", [("operator", "clientAuth"), ("server", "serverAuth"), ("server", "clientAuth")])
def test_b18_sister_authorities_are_not_trusted(broker, authority, usage):
    who = sign(broker, authority, "svc-pagurusd", usage)
    assert broker.publish(who, "pg/v1/d/dev-a/cmd", "evil").returncode != 0


def test_b2_a_wildcard_name_even_of_our_authority_reads_nothing(broker):
    victim = broker.issue("dev-v")
    evil = sign(broker, "device", "+", "clientAuth")
    sub = broker.subscribe(evil, "#", "pg/v1/d/+/cmd", "pg/v1/d/+/up/#")
    for n in range(5):
        broker.publish(victim, "pg/v1/d/dev-v/up/data/s", f"secret{n}")
        broker.must(f"publish pg/v1/d/dev-v/cmd secret{n}")
    time.sleep(0.5)
    assert "secret" not in sub.seen()


def test_b5_a_subscriber_to_everything_receives_only_its_own(broker):
    a, b = broker.issue("dev-a"), broker.issue("dev-b")
    sub = broker.subscribe(a, "#", "+/+/+/+/#", "pg/v1/d/dev-b/cmd", "pg/v1/d/+/up/#", "$share/g/#", "$SYS/#", "/command/#",
                           "/status/#")
    joined(broker, sub, a)
    for n in range(3):
        broker.must(f"publish pg/v1/d/dev-b/cmd other{n}")
        broker.must(f"publish /command/dev-b/run other{n}")
        assert broker.publish(b, "pg/v1/d/dev-b/up/data/x", f"other{n}").returncode == 0
    broker.must("publish /command/dev-a/run mine")
    broker.must("publish pg/v1/d/dev-a/cmd last")
    wait(lambda: "last" in sub.seen() and "/command/dev-a/run mine" in sub.seen(), 3, "own messages arrive")
    topics = {line.split(" ")[0] for line in sub.seen().splitlines()}
    assert topics <= {"pg/v1/d/dev-a/cmd", "/command/dev-a/run"}, sub.seen()


@pytest.mark.parametrize("topic", ["pg/v1/d/dev-b/cmd", "pg/v1/d/dev-b/up/data/x", "pg/v1/d/dev-b/will", "pg/v1/d/dev-a/cmd",
                                   "/status/dev-b", "/command/dev-b/run"])
def test_b6_a_device_cannot_write_what_is_not_its_own(broker, topic):
    a, b = broker.issue("dev-a"), broker.issue("dev-b")
    sub = broker.subscribe(b, "#")
    joined(broker, sub, b)
    text = f"evil{time.monotonic_ns()}"
    broker.publish(a, topic, text)
    broker.publish(a, topic, text, "-r")
    assert broker.publish(a, "pg/v1/d/dev-a/up/data/after", text + "-own").returncode == 0
    wait(lambda: text + "-own" in broker.must("received"), 3, "what it may write arrives")
    assert text not in sub.seen()
    assert f"={text} " not in broker.must("received") + " "


def test_b9_a_will_on_another_devices_topic_is_dropped(broker):
    a = broker.issue("dev-w")
    sub = broker.subscribe(a, "pg/v1/d/dev-w/cmd", more=["--will-topic", "pg/v1/d/dev-b/will", "--will-payload", "gone-evil"])
    joined(broker, sub, a)
    sub.kill()
    other = broker.subscribe(a, "pg/v1/d/dev-w/cmd", more=["--will-topic", "pg/v1/d/dev-w/will", "--will-payload", "gone-own"])
    joined(broker, other, a)
    other.kill()
    wait(lambda: "pg/v1/d/dev-w/will=gone-own" in broker.must("received"), 5, "own will arrives")
    assert "gone-evil" not in broker.must("received")


def test_b4_nobody_is_thrown_out_by_a_stolen_client_id(broker):
    a, b = broker.issue("dev-a"), broker.issue("dev-b")
    sub = broker.subscribe(b, "pg/v1/d/dev-b/cmd", more=["-i", "dev-b"])
    joined(broker, sub, b)
    before = broker.log_text().count("as dev-b (")
    assert broker.publish(a, "pg/v1/d/dev-a/up/x", "1", "-i", "dev-b").returncode == 0
    time.sleep(0.5)
    broker.must("publish pg/v1/d/dev-b/cmd still-here")
    wait(lambda: "still-here" in sub.seen(), 2, "the victim still listens")
    assert broker.log_text().count("as dev-b (") == before


def test_b7_b8_a_retained_message_of_a_revoked_device_is_gone(broker):
    a = broker.issue("dev-r")
    assert broker.publish(a, "pg/v1/d/dev-r/up/data/x", "kept", "-r").returncode == 0
    broker.must(f"revoke dev-r {a}.crt")
    time.sleep(0.5)
    svc = broker.folder / "svc"
    for end, name in ((".crt", "svc.pem"), (".key", "svc.key")):
        pathlib.Path(f"{svc}{end}").write_bytes((broker.folder / "data" / "tls" / name).read_bytes())
    got = subprocess.run(["mosquitto_sub", *broker.arguments(svc), "-t", "pg/v1/d/dev-r/up/#", "-W", "1"],
                         capture_output=True, text=True, check=False)
    assert "kept" not in got.stdout


def test_b10_b11_a_revoked_live_session_is_cut_within_5_s(broker):
    a, other = broker.issue("dev-x"), broker.issue("dev-y")
    sub, fine = broker.subscribe(a, "pg/v1/d/dev-x/cmd"), broker.subscribe(other, "pg/v1/d/dev-y/cmd")
    joined(broker, sub, a)
    joined(broker, fine, other)
    begin = time.monotonic()
    broker.must(f"revoke dev-x {a}.crt")
    wait(lambda: "Client dev-x been disconnected by administrative action" in broker.log_text(), 5, "the session is cut")
    took = time.monotonic() - begin
    seen = sub.seen()
    broker.must("publish pg/v1/d/dev-x/cmd after-revocation")
    assert broker.publish(a, "pg/v1/d/dev-x/up/data/x", "after-revocation").returncode != 0
    time.sleep(1.5)
    assert "after-revocation" not in sub.seen() and sub.seen().startswith(seen[:5])
    assert "after-revocation" not in broker.must("received")
    joined(broker, fine, other)
    print(f"cut after {took:.2f} s")
    assert took < 5


def test_a_publisher_in_full_stream_is_stopped_by_revocation(broker):
    a = broker.issue("dev-s")
    stream = subprocess.Popen(["mosquitto_pub", *broker.arguments(a), "-t", "pg/v1/d/dev-s/up/data/n", "-l", "-q", "0"],
                              stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    sent = 0

    def push(seconds):
        nonlocal sent
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                stream.stdin.write(f"n{sent}.\n".encode())
                stream.stdin.flush()
            except BrokenPipeError:
                return
            sent += 1
            time.sleep(0.05)

    push(1)
    wait(lambda: "n0." in broker.must("received"), 3, "the stream arrives")
    broker.must(f"revoke dev-s {a}.crt")
    push(3)
    last = broker.must("received").rsplit("dev-s/up/data/n=", 1)[1]
    mark = sent
    push(1)
    assert broker.must("received").rsplit("dev-s/up/data/n=", 1)[1] == last
    stream.kill()
    stream.wait()
    assert int(last.split(".")[0][1:]) < mark


def test_a_new_certificate_for_a_revoked_name_works_and_the_old_one_does_not(broker):
    old = broker.issue("dev-n")
    broker.must(f"revoke dev-n {old}.crt")
    new = broker.issue("dev-n")
    broker.must("allow dev-n")
    time.sleep(4)  # the kick is held for 3 s
    assert broker.publish(old, "pg/v1/d/dev-n/up/x", "old").returncode != 0
    assert broker.publish(new, "pg/v1/d/dev-n/up/x", "renewed").returncode == 0
    wait(lambda: "pg/v1/d/dev-n/up/x=renewed" in broker.must("received"), 3, "the new certificate's message arrives")


def test_the_list_verifies_with_openssl(broker):
    folder = broker.folder / "data"
    a = broker.issue("dev-crl")
    check = ["openssl", "verify", "-crl_check", "-CAfile", folder / "ca" / "device-anchor.pem",
             "-CRLfile", folder / "mosquitto" / "device-ca.crl.pem", f"{a}.crt"]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    broker.must(f"retire dev-crl {a}.crt")
    refused = subprocess.run(check, capture_output=True, text=True, check=False)
    assert "certificate revoked" in refused.stdout + refused.stderr


def test_a_killed_broker_comes_back_on_its_port_and_the_client_with_it(broker):
    before = broker.status()
    os.kill(int(before["pid"]), signal.SIGKILL)
    wait(lambda: broker.status()["pid"] not in ("0", before["pid"]) and broker.status()["state"] == "running", 5, "restart")
    after = broker.status()
    assert after["port"] == before["port"] and int(after["restarts"]) == int(before["restarts"]) + 1
    wait(lambda: broker.status()["mqtt"] == "2", 10, "the server's client reconnects")
    a = broker.issue("dev-again")
    assert broker.publish(a, "pg/v1/d/dev-again/up/x", "back").returncode == 0
    wait(lambda: "dev-again/up/x=back" in broker.must("received"), 5, "messages flow again")


def test_no_broker_outlives_its_parent(broker):
    with tempfile.TemporaryDirectory(prefix="pag-broker-") as folder:
        other = Broker(pathlib.Path(folder))
        pid = int(other.status()["pid"])
        other.child.kill()
        other.child.wait()
        wait(lambda: not pathlib.Path(f"/proc/{pid}").exists(), 5, "the broker ends")
