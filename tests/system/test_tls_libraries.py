"""The certificates as the TLS libraries of the boards read them: BearSSL (ESP8266) and mbedTLS (ESP32), compiled
against the distribution's packages, with names, chains, keys and record sizes as the boards have them."""

import re
import shutil
import subprocess

import pytest
from cryptography import x509

import est
from conftest import ROOT

LIBRARIES = {"bearssl": ["-lbearssl"], "mbedtls": ["-lmbedtls", "-lmbedx509", "-lmbedcrypto"]}
ROWS = {"bearssl": ("BearSSL", "0.6"), "mbedtls": ("mbedTLS", "2.28")}     # of tests/compat/clients.tsv


def each(case, *more):
    """Both libraries, or (library, …) given, each standing for its row."""
    rows = more or [(library,) for library in LIBRARIES]
    return [pytest.param(*row, marks=pytest.mark.client(*ROWS[row[0]], case.format(*row))) for row in rows]


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    """The two programs. Without the libraries this fails: tools/deps.sh installs them."""
    folder = tmp_path_factory.mktemp("tls")
    compiler = shutil.which("cc")
    for name, libraries in LIBRARIES.items():
        done = subprocess.run([compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-o", str(folder / name),
                               str(ROOT / "tests" / "support" / f"{name}_client.c"), *libraries],
                              capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off").start()


@pytest.fixture(scope="module")
def devices(server, tmp_path_factory):
    """One with a key of each kind."""
    folder = tmp_path_factory.mktemp("devices")
    server.product("meter")
    server.product("sketch", chip="esp8266", hardware=("d1mini",))
    server.rest("PATCH", "/products/sketch/dialect", {"dialect": "secureesp8266", "settings": {"key": "rsa2048"}})
    made = {}
    for mac, product, kind in [("84f3eb300001", "meter", ()),
                               ("84f3eb300002", "sketch", ("RSA", "-pkeyopt", "rsa_keygen_bits:2048"))]:
        device = est.Client(server, folder, mac).make_key(*kind).make_request()
        code = server.rest("POST", "/enrollment/codes", {"product": product})["code"]
        made["rsa" if kind else "p256"] = device.keep(device.enroll(code))
    return made


def ask(clients, library, server, *more, device=None, name="localhost", root=None, host="127.0.0.1"):
    own = [str(device.cert), str(device.key)] if device else []
    words = [str(clients / library), host, str(server.ports["device"]), name,
             str(root or server.data / "ca" / "root.pem"), *own, *more, "/v1/trust/1"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def status(done):
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[1])


@pytest.mark.parametrize("library", each("GET with a client certificate, P-256 and RSA"))
@pytest.mark.parametrize("kind", ["p256", "rsa"])
@pytest.mark.parametrize("suites", ["ecdsa", "rsa"])
def test_both_keys_of_the_server_and_both_of_devices_are_taken(clients, devices, server, library, kind, suites):
    done = ask(clients, library, server, "--suites", suites, device=devices[kind])
    assert status(done) == 404                        # let in: there is no trust set
    assert re.search("c02b|ECDHE-ECDSA" if suites == "ecdsa" else "c02f|ECDHE-RSA", done.stderr), done.stderr


# mbedTLS before 3.6.3 does not put handshake messages together: a chain must fit into one record, and with 512 or 1024
# bytes none of anybody does. docs/operating/certificates.md says so.
@pytest.mark.parametrize("library, option, size", each(
    "records of {2} bytes", ("bearssl", "--buffer", 512), ("bearssl", "--buffer", 1024), ("bearssl", "--buffer", 2048),
    ("bearssl", "--buffer", 4096), ("mbedtls", "--mfl", 2048), ("mbedtls", "--mfl", 4096)))
@pytest.mark.parametrize("suites", ["ecdsa", "rsa"])
def test_short_records_carry_the_whole_chain(clients, devices, server, library, option, size, suites):
    for device in devices.values():
        done = ask(clients, library, server, option, str(size), "--suites", suites, device=device)
        assert status(done) == 404


@pytest.mark.parametrize("library", each("name and address of the server"))
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_name_and_an_address_as_text_are_the_servers(clients, devices, server, library, name):
    assert status(ask(clients, library, server, device=devices["p256"], name=name)) == 404


@pytest.mark.parametrize("library", each("another name and another root are refused"))
@pytest.mark.parametrize("suites", ["ecdsa", "rsa"])
def test_another_name_and_another_root_are_refused(clients, devices, server, make_server, library, suites):
    done = ask(clients, library, server, "--suites", suites, device=devices["p256"], name="ota.example.org")
    assert done.returncode == 1 and re.search(r"error (56|-0x2700)", done.stderr), done.stderr
    other = make_server("mqtt.mode=off").data / "ca" / "root.pem"
    done = ask(clients, library, server, "--suites", suites, device=devices["p256"], root=other)
    assert done.returncode == 1 and re.search(r"error (62|-0x2700)", done.stderr), done.stderr


@pytest.mark.parametrize("library", each("without a certificate"))
def test_without_its_certificate_a_device_gets_401(clients, devices, server, library):
    assert status(ask(clients, library, server)) == 401


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_device_may_send_its_authority_along(clients, devices, server, library):
    device = devices["p256"]
    whole = device.folder / "chain.pem"
    whole.write_bytes(device.cert.read_bytes() + (server.data / "ca" / "device-ca.pem").read_bytes())
    alone, device.cert = device.cert, whole
    try:
        assert status(ask(clients, library, server, device=device)) == 404
    finally:
        device.cert = alone


def shown_chain(server, cipher):
    """The certificates that a client of these suites is shown, in DER."""
    text = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.ports['device']}", "-tls1_2",
                           "-cipher", cipher, "-showcerts"], input=b"", capture_output=True, timeout=30,
                          check=False).stdout
    return [x509.load_pem_x509_certificate(c)
            for c in re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.S)]


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"])
def test_the_chain_is_two_certificates_of_at_most_2500_bytes_with_every_name_as_dns_name(server, cipher):
    from cryptography.hazmat.primitives.serialization import Encoding
    chain = shown_chain(server, cipher)
    assert len(chain) == 2
    assert sum(len(c.public_bytes(Encoding.DER)) for c in chain) <= 2500
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns = names.get_values_for_type(x509.DNSName)
    assert {"localhost", "127.0.0.1"} <= set(dns)
    assert {str(a) for a in names.get_values_for_type(x509.IPAddress)} <= set(dns)


def test_renewing_the_servers_certificate_renews_both(server):
    before = [shown_chain(server, c)[0].serial_number for c in ("ECDHE-ECDSA-AES128-GCM-SHA256",
                                                               "ECDHE-RSA-AES128-GCM-SHA256")]
    done = subprocess.run(server.command("renew-server-cert"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    server.process.send_signal(1)
    server.until(lambda: [shown_chain(server, c)[0].serial_number for c in
                          ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256")] != before)
    after = [shown_chain(server, c)[0].serial_number for c in ("ECDHE-ECDSA-AES128-GCM-SHA256",
                                                              "ECDHE-RSA-AES128-GCM-SHA256")]
    assert after[0] != before[0] and after[1] != before[1]


def test_a_server_from_before_there_were_two_keys_goes_on_with_one(make_server):
    server = make_server("mqtt.mode=off")
    (server.data / "tls" / "server-rsa.pem").unlink()
    (server.data / "tls" / "server-rsa.key").unlink()
    server.start()
    assert len(shown_chain(server, "ECDHE-ECDSA-AES128-GCM-SHA256")) == 2
    assert shown_chain(server, "ECDHE-RSA-AES128-GCM-SHA256") == []
