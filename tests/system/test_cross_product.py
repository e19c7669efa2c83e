"""What the administrator or a stranger of one product can do to another's: nothing (docs/operating/security.md)."""

import cborish
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import esp8266
import legacy
from mqtt_tools import Clients, wait

OLD = esp8266.arduino("evil", "0.9.0")
NEW = esp8266.arduino("good", "1.0.0")
EVIL = esp8266.arduino("evil", "6.6.6")


@pytest.fixture(scope="module")
def server(make_server):
    one = make_server("mqtt.password=yes", "mqtt.password_port=0", "mqtt.plain=yes", "mqtt.plain_port=0").start()
    one.wait_ready()
    good = legacy.Shelf(one, "good")
    good.publish("1.0.0", firmware=NEW)
    good.mount("/fw", "files", plain_names=True)
    evil = legacy.Shelf(one, "evil")
    evil.publish("6.6.6", firmware=EVIL)
    for name in ("good", "evil"):
        one.rest("PATCH", f"/products/{name}/dialect", {"dialect": "tasmota"})
    return one


@pytest.fixture(scope="module")
def evil(server):
    """Token of an administrator of the product evil alone."""
    return server.rest("POST", "/tokens", {"name": "evil", "role": "admin", "product": "evil"})["token"]


@pytest.fixture
def clients(server):
    one = Clients(server)
    yield one
    one.end()


def user(server, product, name, **more):
    made = server.rest("POST", f"/products/{product}/broker-users", {"name": name, **more})
    quick = Clients(server)
    wait(lambda: quick.publish((made["user"], made["password"]), "nowhere", "x").returncode == 0, 5, "the broker knows the user")
    return (made["user"], made["password"]), made["topic"], made["device"]


def test_an_owner_of_one_product_takes_no_path_below_anothers(server, evil):
    reply = server.call("POST", "/products/evil/mounts", {"path": "/fw/sensor", "kind": "files", "plain_names": True}, token=evil)
    got = legacy.get(server, "/fw/sensor/firmware.bin")
    assert (reply.status, got.body == EVIL) == (409, False), reply.body
    assert reply.json["code"] == "mount-exists"
    beside = server.call("POST", "/products/evil/mounts", {"path": "/fwx", "kind": "files"}, token=evil)
    assert beside.status == 201


def test_an_owner_of_one_product_takes_no_topic_of_anothers(server, evil, clients):
    victim, topic, device = user(server, "good", "v", device="5ccf7f00aa01")
    assert clients.publish(victim, f"tele/{topic}/LWT", "Online", "-r").returncode == 0
    server.until(lambda: server.call("GET", f"/devices/{device}").status == 200 and server.rest("GET", f"/devices/{device}")["online"])
    inside = [f"%prefix%/{topic}/%topic%/", f"cmnd/{topic}/%prefix%/%topic%/"]
    spy = {"name": "f", "device": "5ccf7f00ee01", "topic": "tele"}
    try:
        for full in inside:  # the settings first, then who would use them
            assert server.call("PATCH", "/products/evil/dialect", {"settings": {"fulltopic": full}}, token=evil).status == 200
            refused = server.call("POST", "/products/evil/broker-users", spy, token=evil)
            assert refused.status == 409, full
        server.rest("PATCH", "/products/evil/dialect", {"settings": {"fulltopic": None}}, token=evil)
        forger, own, _ = user(server, "evil", **spy)
        for full in inside:  # and the other way round
            refused = server.call("PATCH", "/products/evil/dialect", {"settings": {"fulltopic": full}}, token=evil)
            assert refused.status == 422 and refused.json["errors"][0]["pointer"] == "/settings/fulltopic", full
        assert server.call("PATCH", "/products/evil/dialect", {"settings": {"fulltopic": "evil/%prefix%/%topic%/"}}, token=evil).status == 200
        clients.publish(forger, f"tele/{topic}/LWT", "Offline", "-r")
        assert "Offline" not in clients.as_server(f"tele/{topic}/LWT", seconds=1)
        server.until(lambda: server.rest("GET", f"/devices/{device}")["online"])  # other subscriptions: it is told anew
    finally:
        server.call("DELETE", "/products/evil/broker-users/f")
        server.rest("PATCH", "/products/evil/dialect", {"settings": {"fulltopic": None}})


@pytest.mark.parametrize("fulltopic, name", [("home{1}/%prefix%/%topic%/", "x"), ("%topic%/%prefix%/", "pg")])
def test_settings_of_one_product_keep_no_user_of_another_alive(server, evil, clients, fulltopic, name):
    account, topic, _ = user(server, "good", f"gone-{name}", device=f"5ccf7f00bb{ord(name[0]):02x}")
    server.call("PATCH", "/products/evil/dialect", {"settings": {"fulltopic": fulltopic}}, token=evil)
    server.call("POST", "/products/evil/broker-users", {"name": f"p-{name}", "device": f"5ccf7f00cc{ord(name[0]):02x}", "topic": name}, token=evil)
    try:
        server.rest("DELETE", f"/products/good/broker-users/gone-{name}")
        wait(lambda: clients.publish(account, f"tele/{topic}/X", "x").returncode != 0, 5, "the removed user comes in no more")
        user(server, "good", f"fresh-{name}", device=f"5ccf7f00dd{ord(name[0]):02x}")
    finally:
        server.call("DELETE", f"/products/evil/broker-users/p-{name}")
        server.rest("PATCH", "/products/evil/dialect", {"settings": {"fulltopic": None}})


def test_a_password_made_before_the_device_has_a_certificate_speaks_for_it_no_more(server, clients):
    for name in ("mine", "theirs"):
        server.product(name, chip="esp8266", hardware=["d1mini"])
        server.rest("PATCH", f"/products/{name}/dialect", {"dialect": "secureesp8266"})
    for number, owner in enumerate(("mine", "theirs")):
        mac = f"5ccf7f00ff0{number}"
        account, _, _ = user(server, "mine", f"early{number}", device=mac)
        device = server.enroll(owner, mac, chip=1, hardware=b"d1mini")
        assert device.id == mac
        clients.publish(account, f"/status/{mac}", '{"espimage":"X-6.6.6","uptimemillis":1}')
        wait(lambda: clients.publish(account, f"/status/{mac}", '{"espimage":"X-6.6.6"}').returncode != 0, 5, "the password is none any more")
        assert [u["refused"] for u in server.rest("GET", "/products/mine/broker-users")["items"] if u["device"] == mac] == [True]


def enroll(server, mac, code):
    key = ec.generate_private_key(ec.SECP256R1())
    csr = (x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, mac)]))
           .sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    body = cborish.dumps({1: code["code"], 2: csr, 3: mac, 4: 1, 5: b"d1mini", 6: "0"})
    return server.device_request("POST", "/v1/enroll", body, {"Content-Type": "application/cbor"}).status


def test_who_only_says_a_mac_keeps_no_device_of_another_product_out(server, evil):
    mac = "5ccf7f001234"
    assert esp8266.Updater(server, "evil", mac, OLD).raw()[0] in (200, 304)
    assert server.rest("GET", f"/devices/{mac}")["product"] == "evil"
    server.rest("POST", f"/devices/{mac}/commands", {"kind": "reboot"})
    server.product("meter", chip="esp8266", hardware=["d1mini"])
    anybody = {"product": "meter", "uses": 5, "ttl_s": 600}
    assert enroll(server, mac, server.rest("POST", "/enrollment/codes", anybody)) == 403
    # by a code with its name on it, which only who sees both products can make
    meter = server.rest("POST", "/tokens", {"name": "meter", "role": "admin", "product": "meter"})["token"]
    assert server.call("POST", "/enrollment/codes", {**anybody, "mac": mac}, token=meter).status == 422
    assert enroll(server, mac, server.rest("POST", "/enrollment/codes", {**anybody, "mac": mac, "name": "cellar"})) == 200
    shown = server.rest("GET", f"/devices/{mac}")
    assert (shown["product"], shown["name"], shown["running"]["version"], shown["action"]["state"]) == ("meter", "cellar", None, "cancelled")
    assert [c["state"] for c in server.rest("GET", f"/devices/{mac}/commands")["items"]] == ["failed"]
    assert esp8266.Updater(server, "evil", mac, OLD).raw()[0] == 404
    # nobody with a certificate is moved like that
    again = server.rest("POST", "/enrollment/codes", {"product": "evil", "uses": 1, "ttl_s": 600, "mac": mac})
    assert enroll(server, mac, again) == 403


def test_no_product_is_named_like_anothers_id(server):
    victim = server.rest("GET", "/products/good")["id"].removeprefix("prd_")
    reply = server.call("POST", "/products", {"name": victim, "chip": "esp8266", "hardware": ["d1mini"]})
    assert reply.status == 422 and "id" in reply.body.decode()
    assert server.rest("GET", f"/products/{victim}")["name"] == "good"
