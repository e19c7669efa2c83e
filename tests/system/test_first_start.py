"""What somebody meets who sets a server up: names that stay, and starts that are refused in clear words."""

import os
import signal
import socket
import subprocess

import pytest

from conftest import BUILD


def run_verb(server, verb, *more, settings=()):
    words = [str(BUILD / "pagurusd"), verb, "--data", str(server.data), *more]
    for setting in settings:
        words += ["--set", setting]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def refused_start(server, *settings):
    """Exit code and words of a start that must not come up."""
    words = server.command("run")
    for setting in settings:
        words += ["--set", setting]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr


def names_of(server):
    """Names in the server certificate that is in the data folder, in order."""
    done = subprocess.run(["openssl", "x509", "-in", str(server.data / "tls" / "server.pem"), "-noout", "-ext",
                           "subjectAltName"], capture_output=True, text=True, check=True)
    return [word.strip().removeprefix("DNS:") for word in done.stdout.splitlines()[1].split(",") if "DNS:" in word]


# -- names -------------------------------------------------------------------------------------------------


def named(make_server, tmp_path_factory, names, *settings):
    server = make_server(*settings)
    server.data = tmp_path_factory.mktemp("named") / "data"
    return server.init(names)


def test_renewing_without_names_keeps_those_of_init(make_server, tmp_path_factory):
    server = named(make_server, tmp_path_factory, "ota.example.net,192.0.2.7,localhost")
    before = names_of(server)
    assert before[:2] == ["ota.example.net", "192.0.2.7"]
    assert run_verb(server, "renew-server-cert")[0] == 0
    assert names_of(server) == before
    assert run_verb(server, "renew-server-cert")[0] == 0
    assert names_of(server) == before, "renewing adds nothing"


def test_names_that_are_given_or_configured_replace_those_of_init(make_server, tmp_path_factory):
    server = named(make_server, tmp_path_factory, "old.example.net,localhost")
    assert run_verb(server, "renew-server-cert", "--names", "new.example.net")[0] == 0
    assert names_of(server)[0] == "new.example.net" and "old.example.net" not in names_of(server)
    assert run_verb(server, "renew-server-cert", settings=["server.names=third.example.net"])[0] == 0
    assert names_of(server)[0] == "third.example.net" and "new.example.net" not in names_of(server)


@pytest.mark.parametrize("names, settings, told", [
    ("ota.example.net,localhost", [], "ota.example.net"),
    ("ota.example.net,localhost", ["server.names=mqtt.example.net"], "mqtt.example.net"),
    ("localhost", [], None),  # no name of anybody's choice: the device takes the one it came by
])
def test_devices_are_told_the_main_name_for_mqtt(make_server, tmp_path_factory, names, settings, told):
    server = named(make_server, tmp_path_factory, names, *settings).start()
    server.wait_ready()
    server.product("meter")
    enrolled = server.enroll("meter", "84f3eb0a0001").enrolled
    assert enrolled.get(5) == told
    assert enrolled[6] == server.ports["mqtt"]
    server.stop()


# -- the broker at the first start -------------------------------------------------------------------------


def test_a_taken_mqtt_port_is_refused_at_start(make_server):
    server = make_server()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refused_start(server, f"mqtt.port={port}")
    assert code == 5, said
    assert f"mqtt: port {port} of 127.0.0.1 is taken by another program" in said
    assert "--set mqtt.port=" in said
    assert not (server.data / "run" / "ports.json").exists()


def test_a_port_that_only_connections_of_before_hold_is_free(make_server):
    """A broker that was restarted leaves connections behind that still wait for their end."""
    server = make_server().start()
    server.wait_ready()
    port = server.ports["mqtt"]
    with socket.create_connection(("127.0.0.1", port)):
        server.stop()
    server.settings.append(f"mqtt.port={port}")
    server.start()
    server.wait_ready()
    assert server.ports["mqtt"] == port
    server.stop()


@pytest.mark.parametrize("program", ["/nowhere/mosquitto", "/etc/passwd", "/tmp"])
def test_a_missing_mosquitto_is_refused_at_start(make_server, program):
    code, said = refused_start(make_server(), f"mqtt.mosquitto={program}")
    assert code == 2, said
    assert program in said and "apt install mosquitto" in said and "mqtt.mode=off" in said


def test_a_mosquitto_that_ends_at_once_is_refused_with_its_words(make_server, tmp_path):
    liar = tmp_path / "mosquitto"
    liar.write_text("#!/bin/sh\necho '1: Error: no luck today' >&2\nexit 3\n")
    liar.chmod(0o755)
    code, said = refused_start(make_server(), f"mqtt.mosquitto={liar}")
    assert code == 1, said
    assert "no luck today" in said and "mqtt.mode=off" in said


def test_a_broker_that_dies_later_is_started_again(make_server):
    server = make_server().start()
    server.wait_ready()
    broker = server.rest("GET", "/status")["broker"]
    os.kill(broker["pid"], signal.SIGKILL)
    server.until(lambda: server.rest("GET", "/status")["broker"]["restarts"] > broker["restarts"])
    server.wait_ready()
    server.stop()


# -- what is broken in the data folder ---------------------------------------------------------------------


@pytest.mark.parametrize("path, content, mode, words", [
    ("tls/server.key", b"nonsense", 0o600, ["tls/server.key: TLS key file is not PEM", "renew-server-cert"]),
    ("tls/server.key", None, 0o600, ["tls/server.key: TLS key file is missing", "renew-server-cert"]),
    ("tls/server.key", b"", 0o644, ["tls/server.key: TLS key file is open to others", "chmod 600"]),
    ("tls/server.pem", b"nonsense", 0o644, ["tls/server.pem: TLS certificate file is missing or not PEM",
                                            "renew-server-cert"]),
    ("ca/device-ca.key", b"nonsense", 0o600, ["ca/device-ca.key: not a private key", "backup"]),
    ("keys/freshness.key", b"nonsense", 0o600, ["keys/freshness.key: not a private key", "backup"]),
    ("pagurus.db", b"nonsense" * 4096, 0o600, ["pagurus.db: damaged, or not a database", "storage.md"]),
])
def test_a_broken_file_is_named_with_what_to_do(make_server, path, content, mode, words):
    server = make_server("mqtt.mode=off")
    file = server.data / path
    if content is None:
        file.unlink()
    elif content or mode == 0o600:
        file.write_bytes(content)
    if content is not None:
        file.chmod(mode)
    code, said = refused_start(server)
    assert code == 1, said
    assert all(word in said for word in words), said


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_at_start_is_said_to_be_full(make_server, tmp_path):
    server = make_server("mqtt.mode=off")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=False).returncode != 0:
        pytest.skip("no mounts here")
    try:
        subprocess.run(["cp", "-a", str(server.data), str(tmp_path)], check=True)
        server.data = tmp_path / "data"
        with open(tmp_path / "fill", "wb", buffering=0) as fill, pytest.raises(OSError):
            while True:
                fill.write(bytes(4096))
        code, said = refused_start(server)
        assert code == 1 and "No space left on device" in said and "Make room" in said, said
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
