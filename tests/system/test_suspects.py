"""What an operator is told of devices that are refused, that refuse, and that look like a copy of another."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import cborish
import esp8266
import signing

CBOR = {"Content-Type": "application/cbor"}
MAC = "84f3eb0b0001"
REJECTED, FAILED = 9, 6
E_SIGNATURE, E_HARDWARE, E_IO = -8, -11, -27  # pagurus/errors.h


@pytest.fixture(scope="module")
def program():
    """Any ELF program will do; the posix port installs programs."""
    with open("/bin/true", "rb") as f:
        return f.read()


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off").start()


@pytest.fixture(scope="module")
def owner(server):
    return signing.Publisher(server, "meter")


def events(server, kind, device=None):
    path = f"/devices/{device}/history?limit=200" if device else "/events?limit=200"
    return [e for e in server.rest("GET", path)["items"] if e["type"] == kind]


# -- refused enrolments ------------------------------------------------------------------------------------


def enrol(server, code, mac):
    key = ec.generate_private_key(ec.SECP256R1())
    csr = (x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
           .sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    return server.device_request("POST", "/v1/enroll",
                                 cborish.dumps({1: code, 2: csr, 3: mac, 4: 255, 5: b"posix", 6: "0"}), CBOR)


def test_a_refused_enrolment_says_who_asked(server, owner):
    code = server.rest("POST", "/enrollment/codes", {"product": "meter", "uses": 1, "ttl_s": 600})["code"]
    assert enrol(server, code, MAC).status == 200
    assert enrol(server, code, "84F3EB0B0002").status == 410
    told = server.until(lambda: events(server, "enrollment.refused"))
    assert [e["data"]["mac"] for e in told] == ["84f3eb0b0002"]
    assert told[0]["data"]["address"] == "127.0.0.1" and "used" in told[0]["data"]["why"]
    line = [row for row in server.log.read_text().splitlines() if "native.enroll_refused" in row][-1]
    assert "84f3eb0b0002" in line and "127.0.0.1" in line


def test_a_flood_of_refused_enrolments_fills_no_table(make_server):
    server = make_server("mqtt.mode=off", "limits.claims_per_minute=100000").start()
    signing.Publisher(server, "meter")
    for i in range(90):
        assert enrol(server, "no-such-claim", f"84f3eb0c{i:04x}").status == 410
    told = server.until(lambda: len(events(server, "enrollment.refused")) >= 20)
    assert told
    assert len(events(server, "enrollment.refused")) <= 60, "two minutes' share at most"
    assert len(re.findall("native.enroll_refused", server.log.read_text())) == 90, "the log has each"
    server.stop()


def test_a_claim_can_be_typed_into_a_shell(server, owner):
    for _ in range(60):
        code = server.rest("POST", "/enrollment/codes", {"product": "meter", "uses": 1, "ttl_s": 600})["code"]
        assert re.fullmatch(r"[0-9A-Z@%+=:,./_-]+", code), code


# -- copies ------------------------------------------------------------------------------------------------


def test_a_device_does_not_take_the_mac_of_another(make_server):
    server = make_server("mqtt.mode=off").start()
    signing.Publisher(server, "plug", "esp8266", ("d1mini",))
    one, other = (server.enroll("plug", mac, chip=1, hardware=b"d1mini") for mac in ("5ccf7e0a0001", "5ccf7e0a0002"))
    said = esp8266.Updater(server, "plug", other.id, esp8266.arduino("plug", "0.9.0"))
    for _ in range(3):
        assert said.raw(device=one)[0] == 304
    assert server.rest("GET", f"/devices/{one.id}")["mac"].replace(":", "").lower() == "5ccf7e0a0001"
    told = events(server, "device.suspect", one.id)
    assert len(told) == 1, "once an hour"
    assert told[0]["data"]["mac"] == other.id and told[0]["data"]["owner"] == other.id
    assert "device.suspect" in server.log.read_text()
    said.mac = "5ccf7e0a0003"  # nobody's: a board was changed
    assert said.raw(device=one)[0] == 304
    assert server.rest("GET", f"/devices/{one.id}")["mac"].replace(":", "").lower() == "5ccf7e0a0003"
    server.stop()


# -- releases that devices refuse --------------------------------------------------------------------------


def check_body(running=bytes(32)):
    return cborish.dumps({1: running, 2: "0.9.0", 3: 0, 4: 0, 5: 1, 6: 0, 7: 0, 8: 1 << 20, 9: 255, 10: b"posix",
                          11: 1})


def offered(device):
    reply = device.request("POST", "/v1/check", check_body(), CBOR)
    assert reply.status in (200, 204)
    return cborish.loads(reply.body).get(1) if reply.status == 200 else None


def refuse(device, action, state, code, text):
    assert device.request("POST", "/v1/report", cborish.dumps({1: action, 2: state, 4: code, 5: text, 8: 0}),
                          CBOR).status in (200, 204)


def counts(server, release):
    return server.rest("GET", f"/releases/{release['id']}")["counts"]


@pytest.mark.parametrize("code", [E_SIGNATURE, E_HARDWARE])
def test_what_a_device_refuses_for_good_is_not_offered_again_until_retry(server, owner, program, code):
    release = owner.publish(f"2.{-code}.0", program + b"%d" % code)
    device = server.enroll("meter", f"84f3eb0d00{-code:02x}")
    action = offered(device)
    refuse(device, action, REJECTED, code, "no")
    assert [offered(device) for _ in range(4)] == [None] * 4
    shown = server.rest("GET", f"/devices/{device.id}")
    assert shown["state"] == "blocked" and "retry" in shown["why"]
    assert counts(server, release)["failed"] == 1
    server.rest("POST", f"/devices/{device.id}:retry")
    again = offered(device)
    assert again not in (None, action)
    refuse(device, again, REJECTED, code, "still no")
    assert offered(device) is None
    assert counts(server, release)["failed"] == 1, "devices, not attempts"
    server.rest("POST", f"/releases/{release['id']}:withdraw")  # older ones are offered too


def test_failed_counts_devices_that_failed_last(server, owner, program):
    release = owner.publish("3.0.0", program + b"three")
    devices = [server.enroll("meter", f"84f3eb0d01{n:02x}") for n in range(2)]
    for device in devices:
        for _ in range(2):
            refuse(device, offered(device), FAILED, E_IO, "the network went away")
    assert counts(server, release)["failed"] == 2
    assert offered(devices[0]) is not None, "what may pass is tried again"
    seen = counts(server, release)
    assert (seen["failed"], seen["offered"]) == (1, 1), "each device counts where it stands"


def test_lists_are_answered_while_devices_enrol(make_server):
    server = make_server("mqtt.mode=off").start()
    signing.Publisher(server, "meter")

    def enrol_some(worker):
        return [server.enroll("meter", f"84f3eb0e{worker:02x}{n:02x}").id for n in range(20)]

    def list_some(_):
        return [server.call("GET", "/devices?q=84f3eb0e&limit=1000").status for _ in range(40)]

    with ThreadPoolExecutor(8) as pool:
        lists = [pool.submit(list_some, i) for i in range(4)]
        made = [pool.submit(enrol_some, i) for i in range(4)]
        assert {status for one in lists for status in one.result()} == {200}
        assert len({device for one in made for device in one.result()}) == 80
    assert server.rest("GET", "/devices?q=84f3eb0e&limit=1000")["total"]["value"] == 80
    server.stop()
