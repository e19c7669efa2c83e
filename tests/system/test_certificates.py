"""Certificates from an operator's side: tables of devices, roll-over, revocation lists, copies of devices."""

import json
import os
import subprocess

import pytest

import cborish
import est
from conftest import BUILD


class Cli:
    """pagurus with the server's admin token."""

    def __init__(self, server, home):
        self.home = home
        token = home / "token"
        token.write_text(server.token)
        token.chmod(0o600)
        self.words = ["--server", f"https://localhost:{server.ports['console']}", "--ca",
                      str(server.data / "ca" / "root.pem"), "--token-file", str(token)]

    def __call__(self, *words, want=0, **more):
        done = subprocess.run([str(BUILD / "pagurus"), *map(str, words), *self.words], capture_output=True, text=True,
                              timeout=120, check=False, cwd=self.home, stdin=subprocess.DEVNULL,
                              env={**os.environ, "HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / "cfg")}, **more)
        assert done.returncode == want, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words, **more):
        return json.loads(self(*words, "--json", **more).stdout)


@pytest.fixture(scope="module")
def owner(server):
    server.product("meter")
    server.product("sketch", chip="esp8266", hardware=("d1mini",))
    server.rest("PATCH", "/products/sketch/dialect", {"dialect": "secureesp8266", "settings": {"key": "rsa2048"}})
    return server


@pytest.fixture
def cli(owner, tmp_path):
    return Cli(owner, tmp_path)


# ---- tables ----------------------------------------------------------------------------------------------

TABLE = '''\ufeffMAC;Name;Tags
84:F3:EB:20:00:01;"Pump; ""hall""";hall pump

84-f3-eb-20-00-02;;
84f3eb200003;Lamp;
'''


def write(cli, text, name="devices.csv"):
    (cli.home / name).write_text(text, encoding="utf-8")
    return name


def test_a_table_becomes_a_code_for_each_device_and_the_code_knows_name_and_tags(cli, owner):
    table = write(cli, TABLE)
    made = cli.json("enroll", "batch", table, "--product", "meter", "-o", "out")
    assert made["made"] == 3 and made["kept"] == 0
    folders = sorted(p.name for p in (cli.home / "out").iterdir())
    assert folders == ["84f3eb200001", "84f3eb200002", "84f3eb200003"]
    claim = cli.home / "out" / "84f3eb200001" / "claim"
    assert claim.stat().st_mode & 0o777 == 0o600
    code = claim.read_text().strip()
    other = est.Client(owner, cli.home / "est", "84f3eb200003").make_key().make_request()
    assert other.enroll(code).status == 401                       # it is for one MAC
    device = est.Client(owner, cli.home / "est", "84f3eb200001").make_key().make_request()
    device.keep(device.enroll(code))
    row = owner.rest("GET", "/devices/84f3eb200001")
    assert row["name"] == 'Pump; "hall"' and row["tags"] == ["hall", "pump"]


def test_the_same_table_again_makes_what_is_missing_and_nothing_else(cli, owner):
    table = write(cli, "mac\n84f3eb210001\n84f3eb210002\n")
    assert cli.json("enroll", "batch", table, "--product", "meter", "-o", "out")["made"] == 2
    before = {p: p.read_text() for p in (cli.home / "out").rglob("claim")}
    codes = len(owner.rest("GET", "/enrollment/codes?limit=1000")["items"])
    write(cli, "mac\n84f3eb210001\n84f3eb210002\n84f3eb210003\n")
    again = cli.json("enroll", "batch", table, "--product", "meter", "-o", "out")
    assert again["made"] == 1 and again["kept"] == 2
    assert [d["made"] for d in again["devices"]] == ["kept", "kept", "code"]
    assert {p: p.read_text() for p in before} == before
    assert len(owner.rest("GET", "/enrollment/codes?limit=1000")["items"]) == codes + 1


@pytest.mark.parametrize("product, more, bits", [("meter", [], b"prime256v1"), ("sketch", ["--rsa"], b"2048 bit")])
def test_a_table_becomes_ready_keys_and_certificates(cli, owner, product, more, bits):
    mac = "84f3eb220001" if not more else "84f3eb220002"
    table = write(cli, f"mac,name,tags\n{mac},Ready,\"a,b\"\n")
    cli("enroll", "batch", table, "--product", product, "--certificates", *more, "-o", "out")
    folder = cli.home / "out" / mac
    assert sorted(p.name for p in folder.iterdir()) == ["ca.crt", "device.crt", "device.key"]
    assert (folder / "device.key").stat().st_mode & 0o777 == 0o600
    assert bits in est.openssl("x509", "-noout", "-text", "-in", folder / "device.crt")
    raw = est.run("curl", "-sS", "--http1.1", "-i", "--cacert", str(folder / "ca.crt"), "--cert",
                  str(folder / "device.crt"), "--key", str(folder / "device.key"),
                  f"https://localhost:{owner.ports['device']}/v1/trust/1")
    assert est.Answer(raw).status == 404
    assert owner.rest("GET", f"/devices/{mac}")["tags"] == ["a", "b"]
    again = cli.json("enroll", "batch", table, "--product", product, "--certificates", *more, "-o", "out")
    assert again["made"] == 0 and again["kept"] == 1


def test_a_run_that_broke_after_the_key_goes_on_with_it(cli, owner):
    table = write(cli, "mac\n84f3eb230001\n")
    cli("enroll", "batch", table, "--product", "meter", "--certificates", "-o", "out")
    folder = cli.home / "out" / "84f3eb230001"
    key = (folder / "device.key").read_bytes()
    (folder / "device.crt").unlink()
    cli("enroll", "batch", table, "--product", "meter", "--certificates", "-o", "out")
    assert (folder / "device.key").read_bytes() == key
    public = est.openssl("pkey", "-in", folder / "device.key", "-pubout")
    assert est.openssl("x509", "-noout", "-pubkey", "-in", folder / "device.crt") == public


@pytest.mark.parametrize("text, line, word", [
    ("name,tags\nx,y\n", 1, "mac"),
    ("mac,colour\n84f3eb240001,red\n", 1, "colour"),
    ("mac,MAC\n84f3eb240001,84f3eb240001\n", 1, "twice"),
    ("mac\n84f3eb24000\n", 2, "twelve hex digits"),
    ("mac\n84f3eb240001\n\n84:f3:eb:24:00:01\n", 4, "line 2"),
    ("mac,tags\n84f3eb240001,Hall\n", 2, "tags"),
    ("mac,name\n84f3eb240001," + "x" * 65 + "\n", 2, "64 bytes"),
    ("mac,name\n84f3eb240001,\"open\n", 2, "never closed"),
    ("mac,name\n84f3eb240001,\"a\"b\n", 2, "closing quote"),
    ("mac,name\n84f3eb240001,a\"b\n", 2, "quote"),
    ("mac" + ",name" * 20 + "\n", 1, "16 columns"),
])
def test_mistakes_are_named_by_line_and_nothing_is_done(cli, owner, text, line, word):
    table = write(cli, text)
    before = len(owner.rest("GET", "/enrollment/codes?limit=1000")["items"])
    done = cli("enroll", "batch", table, "--product", "meter", "-o", "out", want=2)
    assert f"devices.csv:{line}: " in done.stderr and word in done.stderr
    assert not (cli.home / "out").exists()
    assert len(owner.rest("GET", "/enrollment/codes?limit=1000")["items"]) == before


def test_all_mistakes_of_a_table_are_named_at_once(cli):
    table = write(cli, "mac,tags\nx,\n84f3eb240001,UPPER\ny,\n")
    done = cli("enroll", "batch", table, "--product", "meter", "-o", "out", want=2)
    assert all(f"devices.csv:{n}: " in done.stderr for n in (2, 3, 4)) and "3 mistake" in done.stderr


def test_rsa_for_a_product_of_p256_keys_is_refused_with_the_line(cli):
    table = write(cli, "mac\n84f3eb250001\n")
    done = cli("enroll", "batch", table, "--product", "meter", "--certificates", "--rsa", "-o", "out", want=2)
    assert "P-256" in done.stderr and "devices.csv:2: " in done.stderr


# ---- roll-over -------------------------------------------------------------------------------------------


@pytest.fixture
def rolling(make_server, tmp_path):
    """A server of its own with a broker, a device, and an operator who has the root key."""
    server = make_server().start()
    server.wait_ready()
    server.product("meter")
    one = Cli(server, tmp_path)
    one.server = server
    root = tmp_path / "root-export.pem"
    root.write_bytes((server.data / "root-export.pem").read_bytes())
    root.chmod(0o600)
    one.root = ["--root", root, "--passphrase-file", server.folder / "passphrase"]
    return one


def enrolled(server, folder, mac):
    device = est.Client(server, folder, mac).make_key().make_request()
    return device.keep(device.enroll(server.rest("POST", "/enrollment/codes", {"product": "meter"})["code"]))


def https(device):
    raw = subprocess.run(["curl", "-sS", "--http1.1", "-i", "--cacert", str(device.server.data / "ca" / "root.pem"),
                          "--cert", str(device.cert), "--key", str(device.key),
                          f"https://localhost:{device.server.ports['device']}/v1/trust/1"],
                         capture_output=True, timeout=30, check=False)
    return raw.returncode == 0 and est.Answer(raw.stdout).status == 404


def mqtt(device):
    """Whether the broker takes it: a message of its own comes through."""
    done = subprocess.run(["mosquitto_pub", "-h", "localhost", "-p", str(device.server.ports["mqtt"]), "--cafile",
                           str(device.server.data / "ca" / "root.pem"), "--cert", str(device.cert), "--key",
                           str(device.key), "-i", device.mac, "-q", "1", "-t", f"pg/v1/d/{device.mac}/up/data/x",
                           "-m", "1"], capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def issuer(device):
    return est.openssl("x509", "-noout", "-issuer", "-in", device.cert)


def test_devices_of_both_authorities_are_served_until_the_old_one_is_retired(rolling):
    server = rolling.server
    old = enrolled(server, rolling.home, "84f3eb400001")
    gone = enrolled(server, rolling.home, "84f3eb400002")
    assert https(old) and mqtt(old) and mqtt(gone)
    rolling("ca", "roll", "device", *rolling.root)
    new = enrolled(server, rolling.home, "84f3eb400003")
    assert issuer(new) != issuer(old)
    server.until(lambda: mqtt(new))
    assert https(old) and https(new) and mqtt(old)
    shown = rolling.json("ca", "show")
    assert shown["device-old"]["serial"] != shown["device"]["serial"]
    assert shown["device_certificates"]["old_authority"] == 2
    names = [est.subject(c) for c in est.certificates(new.ask("cacerts", post=False))]
    assert len([n for n in names if "device CA" in n]) == 2 and len(names) == 4
    bundle = server.console_request("GET", "/api/v1/ca/device.pem").body.decode()
    assert bundle.count("BEGIN CERTIFICATE") == 4                           # each with the root
    # Revoking counts under both, and both lists say so.
    assert server.call("POST", f"/devices/{gone.mac}:revoke", {"reason": "lost"}).status == 200
    server.until(lambda: not mqtt(gone))
    assert not https(gone) and mqtt(old) and mqtt(new)
    assert (server.data / "mosquitto" / "device-ca.crl.pem").read_text().count("BEGIN X509 CRL") == 2
    # Nobody is cut off by mistake.
    refused = rolling("ca", "retire", want=5)
    assert "1 device" in refused.stderr
    old.make_request()
    old.keep(old.reenroll())
    assert issuer(old) == issuer(new)                 # the same key gets a new certificate: the authority is new
    rolling("ca", "retire")
    assert "device-old" not in rolling.json("ca", "show")
    assert https(old) and https(new) and mqtt(old) and mqtt(new)
    events = [e["type"] for e in server.rest("GET", "/events?limit=1000")["items"]]
    assert "ca.rolled" in events and "ca.retired" in events


def test_a_retired_authority_opens_nothing_even_after_a_restart(rolling):
    server = rolling.server
    old = enrolled(server, rolling.home, "84f3eb410001")
    rolling("ca", "roll", "device", *rolling.root)
    server.stop()
    server.start()
    server.wait_ready()
    rolling.words = Cli(server, rolling.home).words
    assert https(old) and mqtt(old)                    # both are in force over a restart
    assert rolling("ca", "roll", "device", *rolling.root, want=5).stderr.count("retire") >= 1
    rolling("ca", "retire", "--force")
    assert not https(old)
    server.until(lambda: not mqtt(old))
    server.stop()
    server.start()
    server.wait_ready()
    assert not https(old) and not mqtt(old)
    assert https(enrolled(server, rolling.home, "84f3eb410002"))


def test_a_server_authority_is_followed_without_a_device_noticing(rolling):
    server = rolling.server
    device = enrolled(server, rolling.home, "84f3eb420001")
    before = rolling.json("ca", "show")["server"]["serial"]
    rolling("ca", "roll", "server", *rolling.root)
    assert rolling.json("ca", "show")["server"]["serial"] != before
    assert https(device)
    server.until(lambda: mqtt(device))


def test_only_the_root_of_this_server_and_its_passphrase_can_roll(rolling, make_server):
    wrong = rolling.home / "wrong"
    wrong.write_text("not the passphrase\n")
    wrong.chmod(0o600)
    denied = rolling("ca", "roll", "device", "--root", rolling.root[1], "--passphrase-file", wrong, want=4)
    assert "passphrase" in denied.stderr
    other = make_server("mqtt.mode=off")
    strange = rolling.home / "strange.pem"
    strange.write_bytes((other.data / "root-export.pem").read_bytes())
    strange.chmod(0o600)
    done = rolling("ca", "roll", "device", "--root", strange, "--passphrase-file", other.folder / "passphrase", want=5)
    assert "root" in done.stderr
    rolling("ca", "roll", "device", "--root", rolling.home / "missing.pem", want=3)
    rolling("ca", "roll", "device", want=2)
    rolling("ca", "roll", "operator", *rolling.root, want=2)
    assert "device-old" not in rolling.json("ca", "show")


@pytest.mark.parametrize("step", ["taken", "old pair put aside", "anchors written", "key in place"])
def test_a_roll_over_that_breaks_off_is_completed_at_the_next_start(rolling, step):
    """The files as they are after each step of server/roll.c, and a crash."""
    server = rolling.server
    old = enrolled(server, rolling.home, "84f3eb430001")
    ca = server.data / "ca"
    before = {n: (ca / n).read_bytes() for n in ("device-ca.pem", "device-ca.key", "device-anchor.pem")}
    rolling("ca", "roll", "device", *rolling.root)
    server.until(lambda: not (ca / "device-ca.next.key").exists())
    server.stop()
    after = {n: (ca / n).read_bytes() for n in ("device-ca.pem", "device-ca.key", "device-anchor.pem")}
    for name, new in (("device-ca.next.pem", "device-ca.pem"), ("device-ca.next.key", "device-ca.key")):
        (ca / name).write_bytes(after[new])
        (ca / name).chmod(0o600)
    for name in before:
        (ca / name).write_bytes(before[name])
    if step == "taken":
        (ca / "device-ca.old.pem").unlink()
        (ca / "device-ca.old.key").unlink()
    if step in ("anchors written", "key in place"):
        (ca / "device-anchor.pem").write_bytes(after["device-anchor.pem"])
    if step == "key in place":
        (ca / "device-ca.key").write_bytes(after["device-ca.key"])
    server.start()
    server.wait_ready()
    assert (ca / "device-ca.pem").read_bytes() == after["device-ca.pem"]
    assert not (ca / "device-ca.next.pem").exists() and not (ca / "device-ca.next.key").exists()
    assert https(old) and mqtt(old) and https(enrolled(server, rolling.home, "84f3eb430002"))


# ---- revocation lists ------------------------------------------------------------------------------------


def test_the_revocation_list_is_there_as_pem_and_der_with_its_next_update(owner, cli):
    device = enrolled(owner, cli.home, "84f3eb500001")
    serial = est.openssl("x509", "-noout", "-serial", "-in", device.cert).decode().strip().split("=")[1].lower()
    before = int(owner.rest("GET", "/ca")["crl"]["number"])
    assert owner.call("POST", f"/devices/{device.mac}:revoke", {"reason": "test"}).status == 200
    owner.until(lambda: int(owner.rest("GET", "/ca")["crl"]["number"]) > before)
    for path, form in (("/api/v1/ca/device.crl", "PEM"), ("/api/v1/ca/device.crl.der", "DER")):
        reply = owner.console_request("GET", path)
        assert reply.status == 200
        text = est.openssl("crl", "-inform", form, "-noout", "-text", data=reply.body).decode()
        assert serial in text.lower().replace(":", "") and "Next Update: " in text and "NONE" not in text
    (cli.home / "list.pem").write_bytes(owner.console_request("GET", "/api/v1/ca/device.crl").body)
    checked = subprocess.run(["openssl", "verify", "-crl_check", "-CAfile", str(owner.data / "ca" / "device-anchor.pem"),
                              "-CRLfile", str(cli.home / "list.pem"), str(device.cert)], capture_output=True, text=True,
                             timeout=30, check=False)
    assert "certificate revoked" in checked.stderr


def test_a_revocation_list_is_made_anew_though_nobody_was_revoked(make_server):
    server = make_server("mqtt.mode=off", "certificates.crl_time=1h", "certificates.crl_every=2s").start()
    first = int(server.rest("GET", "/ca")["crl"]["number"])
    server.until(lambda: int(server.rest("GET", "/ca")["crl"]["number"]) > first, 20)


# ---- ends ------------------------------------------------------------------------------------------------


def test_devices_whose_certificates_end_are_counted(make_server, tmp_path):
    import sqlite3
    server = make_server("mqtt.mode=off").start()
    server.product("meter")
    fresh, due, ended = (enrolled(server, tmp_path, f"84f3eb51000{i}") for i in range(3))
    server.stop()
    day = 86400 * 1000
    with sqlite3.connect(server.data / "pagurus.db") as db:
        for device, begun, left in ((due, 70, 30), (ended, 100, -1)):
            db.execute("UPDATE certificate SET not_before_ms = issued_ms - ?, not_after_ms = issued_ms + ? WHERE device_id = ?",
                       (begun * day, left * day, device.mac))
    server.start()
    assert server.rest("GET", "/ca")["device_certificates"] == {
        "due": 1, "expired": 1, "old_authority": 0, "clone_suspected": 0}
    assert https(fresh)
    home = tmp_path / "home"
    home.mkdir()
    assert "1 should renew" in Cli(server, home)("ca", "show").stderr


# ---- copies of devices -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watching(make_server):
    server = make_server("mqtt.mode=off", "limits.device_requests=1000", "limits.device_requests_burst=1000").start()
    server.product("meter")
    return server


def visit(device, source="127.0.0.1"):
    est.run("curl", "-sS", "-o", "/dev/null", "--interface", source, "--cacert",
            str(device.server.data / "ca" / "root.pem"), "--cert", str(device.cert), "--key", str(device.key),
            f"https://127.0.0.1:{device.server.ports['device']}/v1/trust/1")


def check(device, counter):
    body = device.folder / "check"
    body.write_bytes(cborish.dumps({1: bytes(32), 2: "0", 3: 0, 4: 0, 5: 1, 6: 0, 7: 0, 8: 16 << 20, 9: 255, 10: b"posix",
                                    11: counter, 13: 1}))
    answer = est.Answer(est.run("curl", "-sS", "--http1.1", "-i", "--cacert", str(device.server.data / "ca" / "root.pem"),
                                "--cert", str(device.cert), "--key", str(device.key), "--data-binary", f"@{body}", "-H",
                                "Content-Type: application/cbor",
                                f"https://localhost:{device.server.ports['device']}/v1/check"))
    assert answer.status in (200, 204), answer.text


def signs(device):
    items = device.server.rest("GET", f"/devices/{device.mac}/history?limit=100")["items"]
    return [e["data"]["sign"] for e in items if e["type"] == "device.clone_suspected"]


def test_a_counter_that_goes_back_is_told_once_and_shown_everywhere(watching, tmp_path):
    device = enrolled(watching, tmp_path, "84f3eb600001")
    for counter in (10, 11, 11, 12):
        check(device, counter)
    assert signs(device) == [] and watching.rest("GET", f"/devices/{device.mac}")["clone_suspected_at"] is None
    for counter in (4, 13, 5, 14):
        check(device, counter)
    watching.until(lambda: signs(device))
    assert signs(device) == ["counter"]                       # once an hour
    assert watching.rest("GET", f"/devices/{device.mac}")["clone_suspected_at"]
    assert watching.rest("GET", "/ca")["device_certificates"]["clone_suspected"] >= 1
    one = Cli(watching, tmp_path)
    assert "copy suspected" in one("device", "show", device.mac).stdout
    found = subprocess.run([str(BUILD / "pagurus"), "doctor", *one.words], capture_output=True, text=True, timeout=60,
                           check=False, env={**os.environ, "HOME": str(tmp_path)})
    assert "copies suspected" in found.stdout + found.stderr
    check(device, 15)                                         # nothing is blocked


def test_two_addresses_in_turn_are_told_and_one_that_moves_is_not(watching, tmp_path):
    moves, copied = (enrolled(watching, tmp_path, f"84f3eb60001{i}") for i in range(2))
    for n in (1, 1, 2, 2, 3, 4, 5, 6):
        visit(moves, f"127.0.0.{n}")
    for n in (1, 2) * 4:
        visit(copied, f"127.0.0.{n}")
    watching.until(lambda: signs(copied))
    assert signs(copied) == ["addresses"] and signs(moves) == []


def test_a_replaced_certificate_that_comes_back_is_told(watching, tmp_path):
    device = enrolled(watching, tmp_path, "84f3eb600020")
    visit(device)
    stolen = est.Client(watching, tmp_path / "thief", device.mac)
    stolen.cert.write_bytes(device.cert.read_bytes())
    stolen.key.write_bytes(device.key.read_bytes())
    import time
    time.sleep(1.1)                                           # certificates end on whole seconds
    next_key = device.folder / "next.pem"
    est.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", next_key)
    device.key, old = next_key, device.key
    device.make_request()
    answer = device.ask("simplereenroll", "--cert", device.cert, "--key", old)
    device.keep(answer)
    visit(device)
    assert signs(device) == []
    visit(stolen)
    watching.until(lambda: signs(device))
    assert signs(device) == ["certificate"]
