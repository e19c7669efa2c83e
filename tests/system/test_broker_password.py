"""Listeners with passwords: who comes in, what each may do, and the attacks on topics (docs/operating/broker.md)."""

import re
import subprocess
import time

import pytest

from mqtt_tools import Clients, wait

MAC = "5ccf7f00{:04x}"


@pytest.fixture(scope="module")
def server(make_server):
    one = make_server("mqtt.password=yes", "mqtt.password_port=0", "mqtt.plain=yes", "mqtt.plain_port=0",
                      "mqtt.max_packet=4K").start()
    one.wait_ready()
    one.product("lamp", chip="esp8266", hardware=["d1mini"])
    one.rest("PATCH", "/products/lamp/dialect", {"dialect": "tasmota"})
    one.product("old", chip="esp8266", hardware=["d1mini"])
    one.rest("PATCH", "/products/old/dialect", {"dialect": "secureesp8266"})
    return one


@pytest.fixture
def clients(server):
    one = Clients(server)
    yield one
    one.end()


NUMBERS = iter(range(1, 1000))


def add(server, product="lamp", number=None, **more):
    """(user, password), topic and device of a new user of the broker."""
    number = number or next(NUMBERS)
    made = server.rest("POST", f"/products/{product}/broker-users", {"name": f"d{number}", "device": MAC.format(number), **more})
    account = (made["user"], made["password"])
    quick = Clients(server)
    wait(lambda: quick.publish(account, "nowhere", "x").returncode == 0, 5, "the broker knows the user")
    if product == "lamp":
        assert quick.publish(account, f"tele/{made['topic']}/LWT", "Online", "-r").returncode == 0
        server.until(lambda: server.call("GET", f"/devices/{made['device']}").status == 200 and
                     server.rest("GET", f"/devices/{made['device']}")["online"])
    return account, made["topic"], made["device"]


def tell(server, device, words):
    """The server's own way to publish cmnd/<topic>/<word> <text>: its session is not taken from it."""
    server.rest("POST", f"/devices/{device}/commands", {"kind": "app", "arg": words})


def joined(server, device, sub):
    """The subscription is in force once the server's message arrives."""
    wait(lambda: (tell(server, device, "Status 1"), time.sleep(0.2), "Status 1" in sub.seen())[2], 10, "own command arrives")


def comes_in(clients, account, topic, port=None):
    return clients.publish(account, topic, "x", port=port).returncode == 0


def test_off_by_default(make_server):
    one = make_server().start()
    one.wait_ready()
    assert one.ports["mqtt_password"] == 0 and one.ports["mqtt_plain"] == 0
    assert "listener" in (conf := (one.data / "mosquitto" / "mosquitto.conf").read_text()) and conf.count("\nlistener ") == 1


def test_the_risk_is_said_in_words(server):
    log = server.log.read_text()
    assert "broker.plain_listener" in log and "in the clear" in log and "broker.password_listener" in log


def test_the_password_is_shown_once_and_kept_as_a_hash(server):
    account, topic, device = add(server)
    assert len(account[1]) == 30 and topic == "tasmota_" + device[-6:].upper()
    listed = server.rest("GET", "/products/lamp/broker-users")["items"]
    assert account[0] in [u["user"] for u in listed] and account[1] not in str(listed)
    files = b"".join(p.read_bytes() for p in server.data.rglob("*") if p.is_file())
    assert account[1].encode() not in files and account[1] not in server.log.read_text()
    line = [l for l in (server.data / "mosquitto" / "passwords").read_text().splitlines() if l.startswith(account[0] + ":")]
    assert len(line) == 1 and re.fullmatch(r".*:\$7\$101\$[A-Za-z0-9+/=]{16}\$[A-Za-z0-9+/=]{88}", line[0])
    assert (server.data / "mosquitto" / "passwords").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("port", ["mqtt_password", "mqtt_plain"])
def test_only_the_right_password_comes_in(server, clients, port):
    account, topic, _ = add(server)
    assert comes_in(clients, account, f"tele/{topic}/X", port)
    assert not comes_in(clients, (account[0], "wrong"), f"tele/{topic}/X", port)
    assert not comes_in(clients, (account[0], ""), f"tele/{topic}/X", port)
    assert not comes_in(clients, (None, None), f"tele/{topic}/X", port)
    assert not comes_in(clients, ("svc-pagurusd", account[1]), f"tele/{topic}/X", port)


def test_a_password_is_no_way_around_the_certificate(server, clients):
    account, topic, _ = add(server)
    assert not comes_in(clients, account, f"tele/{topic}/X", "mqtt")


def test_own_topics_go_both_ways_and_nothing_else_does(server, clients):
    mine, topic, my_device = add(server)
    other, others, their_device = add(server)
    sub = clients.subscribe(mine, "#", "+/+", "+/+/#", f"cmnd/{others}/#", "$SYS/#", "pg/v1/#", "stat/#", "tele/#", "cmnd/#")
    theirs = clients.subscribe(other, "#")
    joined(server, my_device, sub)
    joined(server, their_device, theirs)
    for target in (f"tele/{others}/STATE", f"cmnd/{others}/Power", f"stat/{others}/RESULT", "pg/v1/d/abc/cmd", "pg/v1/d/lamp.d1/up/status",
                   f"cmnd/{topic}/Power", "tasmota/discovery/5CCF7F00FFFF/config", "$SYS/x", "/status/" + MAC.format(1)):
        clients.publish(mine, target, "evil")
        clients.publish(mine, target, "evil", "-r")
    clients.publish(mine, f"tele/{topic}/AFTER", "own")
    time.sleep(0.5)
    assert "evil" not in theirs.seen() and "evil" not in sub.seen()
    assert {line.split(" ")[0] for line in sub.seen().splitlines()} == {f"cmnd/{topic}/Status"}, sub.seen()
    assert "evil" not in clients.as_server("#", "pg/v1/#", "cmnd/#", "tasmota/#")


def clients_as_publisher(server):
    """With the server's own certificate: its client comes back and ends this session, so it is tried some times."""
    tls = server.data / "tls"

    def publish(topic, text, *more):
        for left in range(9, -1, -1):
            done = subprocess.run(["mosquitto_pub", "-h", "localhost", "-p", str(server.ports["mqtt"]), "-i", "x", "-t", topic, "-m", text, "-q", "1",
                                   "--cafile", str(server.data / "ca" / "root.pem"), "--cert", str(tls / "svc.pem"),
                                   "--key", str(tls / "svc.key"), *more], capture_output=True, timeout=20, check=left == 0)
            if done.returncode == 0:
                return
            time.sleep(0.2)
    return publish


def test_the_plain_listener_carries_no_native_topic_even_for_a_user_named_like_a_device(server, clients):
    server.product("native", chip="esp8266", hardware=["d1mini"])
    native = server.enroll("native", "5ccf7fee0001", chip=1, hardware=b"d1mini")
    refused = server.call("POST", "/products/native/broker-users", {"name": "n", "device": native.id})
    assert refused.status == 409 and "certificate" in refused.body.decode()
    account, _, _ = add(server)
    sub = clients.subscribe(account, f"pg/v1/d/{native.id}/cmd", "pg/v1/d/+/cmd", f"pg/v1/d/{account[0]}/cmd")
    server.rest("POST", f"/devices/{native.id}/commands", {"kind": "identify"})
    clients.publish(account, f"pg/v1/d/{native.id}/up/status", '{"version":"6.6.6"}')
    clients.publish(account, f"pg/v1/d/{native.id}/will", "online")
    time.sleep(1)
    assert sub.seen() == "" and not server.rest("GET", f"/devices/{native.id}")["online"]


def test_a_client_id_takes_over_no_other_session(server, clients):
    mine, topic, _ = add(server)
    other, others, device = add(server)
    victim = clients.subscribe(other, f"cmnd/{others}/#", client_id=other[0])
    joined(server, device, victim)
    for name in (other[0], "svc-pagurusd", "x"):
        assert clients.publish(mine, f"tele/{topic}/X", "1", client_id=name).returncode == 0
    tell(server, device, "Status still")
    wait(lambda: "still" in victim.seen(), 5, "the victim still listens")
    assert victim.poll() is None


def test_a_will_on_a_foreign_topic_is_dropped_and_the_own_one_arrives(server, clients):
    mine, topic, device = add(server)
    _, others, _ = add(server)
    for target in (f"tele/{others}/LWT", f"tele/{topic}/LWT"):
        child = clients.subscribe(mine, f"cmnd/{topic}/#", more=["--will-topic", target, "--will-payload", "Offline", "--will-retain"])
        joined(server, device, child)
        child.kill()
        child.wait()
    server.until(lambda: not server.rest("GET", f"/devices/{device}")["online"])
    assert "Offline" not in clients.as_server(f"tele/{others}/LWT", seconds=1)


def test_retained_commands_are_taken_away_at_start(server, clients):
    account, topic, _ = add(server)
    svc = clients_as_publisher(server)
    svc(f"cmnd/{topic}/Upgrade", "1", "-r")
    wait(lambda: clients.as_server(f"cmnd/{topic}/#", seconds=1) == "", 10, "it is taken away at once")
    server.stop()
    # a leftover from before: put there while the server is away, by a broker on the same files
    conf = (server.data / "mosquitto" / "mosquitto.conf").read_text()
    (server.folder / "left.conf").write_text(conf)
    broker = subprocess.Popen(["/usr/sbin/mosquitto", "-c", server.folder / "left.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def put():
            try:
                svc(f"cmnd/{topic}/Restart", "1", "-r")
                return True
            except subprocess.CalledProcessError:
                return False
        wait(put, 10, "the broker alone takes it")
    finally:
        broker.terminate()
        broker.wait()
    server.start()
    server.wait_ready()
    wait(lambda: "mqtt.retained_command_removed" in server.log.read_text(), 10, "it is logged")
    wait(lambda: clients.as_server(f"cmnd/{topic}/#", seconds=1) == "", 10, "it is gone")
    sub = clients.subscribe(account, f"cmnd/{topic}/#")
    time.sleep(1)
    assert "Restart" not in sub.seen()


def test_a_payload_over_the_limit_ends_that_session_only(server, clients):
    account, topic, _ = add(server)
    big = clients.publish(account, f"tele/{topic}/BIG", "x" * 8000)
    assert big.returncode != 0 or "BIG" not in clients.as_server(f"tele/{topic}/BIG", seconds=1)
    assert comes_in(clients, account, f"tele/{topic}/X")
    assert server.rest("GET", "/status")["broker"]["restarts"] == 0


def test_a_flood_of_qos2_keeps_nobody_waiting(server, clients):
    loud, topic, _ = add(server)
    calm, others, device = add(server)
    sub = clients.subscribe(calm, f"cmnd/{others}/#")
    joined(server, device, sub)
    flood = subprocess.Popen(["mosquitto_pub", *clients.arguments(*loud), "-t", f"tele/{topic}/N", "-q", "2", "-l"],
                             stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        flood.stdin.write(b"0123456789\n" * 30000)
        flood.stdin.flush()
        start = time.monotonic()
        tell(server, device, "Status in-the-flood")
        wait(lambda: "in-the-flood" in sub.seen(), 10, "the command arrives")
        assert time.monotonic() - start < 5
    finally:
        flood.kill()
        flood.wait()
    assert server.rest("GET", "/status")["broker"]["restarts"] == 0


def test_a_removed_user_is_cut_at_once(server, clients):
    account, topic, device = add(server)
    sub = clients.subscribe(account, f"cmnd/{topic}/#")
    joined(server, device, sub)
    start = time.monotonic()
    server.rest("DELETE", f"/products/lamp/broker-users/{account[0].split('.')[1]}")
    wait(lambda: not comes_in(clients, account, f"tele/{topic}/X"), 5, "it does not come in again")
    assert time.monotonic() - start < 5
    clients_as_publisher(server)(f"cmnd/{topic}/Status", "after")
    time.sleep(0.5)
    assert "after" not in sub.seen()


def test_another_password_ends_the_session_of_the_old_one(server, clients):
    account, topic, device = add(server)
    sub = clients.subscribe(account, f"cmnd/{topic}/#")
    joined(server, device, sub)
    fresh = server.rest("POST", f"/products/lamp/broker-users/{account[0].split('.')[1]}/password")["password"]
    wait(lambda: comes_in(clients, (account[0], fresh), f"tele/{topic}/X"), 5, "the new one comes in")
    assert not comes_in(clients, account, f"tele/{topic}/X")
    clients_as_publisher(server)(f"cmnd/{topic}/Status", "after")
    time.sleep(0.5)
    assert "after" not in sub.seen()


def test_a_revoked_device_loses_its_password_and_its_session(server, clients):
    account, topic, device = add(server)
    sub = clients.subscribe(account, f"cmnd/{topic}/#")
    joined(server, device, sub)
    server.rest("POST", f"/devices/{device}:revoke", {"reason": "lost"})
    wait(lambda: not comes_in(clients, account, f"tele/{topic}/X"), 5, "it does not come in again")
    clients_as_publisher(server)(f"cmnd/{topic}/Status", "after")
    time.sleep(0.5)
    assert "after" not in sub.seen()
    assert [u["refused"] for u in server.rest("GET", "/products/lamp/broker-users")["items"] if u["user"] == account[0]] == [True]


def test_a_secure_esp_without_tls_has_its_own_topics(server, clients):
    account, _, device = add(server, "old")
    sub = clients.subscribe(account, "#")
    svc = clients_as_publisher(server)
    wait(lambda: (svc(f"/command/{device}/config", ""), time.sleep(0.2), "/config" in sub.seen())[2])
    clients.publish(account, "/status/" + MAC.format(1), "evil", "-r")
    assert "evil" not in clients.as_server("/status/#", seconds=1)


@pytest.mark.parametrize("body", [{"name": "../x"}, {"name": "a b"}, {"name": "x\n"}, {"name": "a", "device": "#"}, {"name": "a", "topic": "a/b"},
                                  {"name": "a", "topic": "+"}, {"name": "a:b"}, {"name": "UPPER"}, {"name": "ok", "device": "no-mac"}])
def test_names_that_would_be_lines_of_a_file_are_refused(server, body):
    before = (server.data / "mosquitto" / "users.acl").read_text()
    assert server.call("POST", "/products/lamp/broker-users", body).status in (409, 422)
    assert (server.data / "mosquitto" / "users.acl").read_text() == before


def test_a_topic_belongs_to_one_user(server):
    _, topic, device = add(server)
    for body in ({"name": "second", "device": MAC.format(0xfff0), "topic": topic}, {"name": "second", "device": device, "topic": "free"}):
        assert server.call("POST", "/products/lamp/broker-users", body).status == 409
