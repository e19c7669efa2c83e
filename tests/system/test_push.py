"""pagurus push: one image to one device in this network. The devices are stand-ins that behave as the firmware does
(support/lan_devices.py); each can hang up at every phase, stall, and answer nonsense."""

import os
import signal
import socket
import subprocess
import time

import pytest

import esp8266
from support import lan_devices as lan
from test_cli import PAGURUS, Cli

IMAGE = esp8266.arduino(product="lamp", version="2.0.0", filler=60000)


def row(client, version, case, *values):
    """One form of a protocol, and for which client of tests/compat/clients.tsv it stands."""
    return pytest.param(*values, marks=pytest.mark.client(client, version, case))


@pytest.fixture()
def cli(tmp_path):
    one = Cli(tmp_path)
    (tmp_path / "firmware.bin").write_bytes(IMAGE)
    (tmp_path / "littlefs.bin").write_bytes(b"\x07fs" * 5000)
    secret = tmp_path / "ota.txt"
    secret.write_text("blue sky\n")
    secret.chmod(0o600)
    return one


@pytest.fixture()
def nobody():
    """Nobody is asked by multicast DNS."""
    return "none"


def push(cli, device, protocol, *more, nobody, image="firmware.bin", want=0):
    return cli("push", "127.0.0.1", image, "--protocol", protocol, "--port", device.port, "--mdns", nobody,
               "--wait", "0s", *more, want=want)


# ---- ArduinoOTA ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form,kept", [
    row("ArduinoOTA ESP8266", "3.1.2", "pushed without a password", None, None),
    row("ArduinoOTA ESP32", "2.0.17", "pushed with a password (MD5)", "md5", None),
    row("ArduinoOTA ESP32", "3.3.1", "pushed with a password (SHA-256)", "sha256", None),
    row("ArduinoOTA ESP32", "3.3.1", "pushed with the password of an older sketch", "sha256", "md5"),
])
def test_espota_takes_an_image_with_each_form_of_password(cli, nobody, form, kept):
    with lan.Espota(form=form, kept=kept, password="blue sky") as device:
        push(cli, device, "espota", "--password-file", "ota.txt", nobody=nobody)
        assert device.flash == IMAGE and set(device.commands) == {0}


def test_espota_result_may_come_in_pieces_and_late(cli, nobody):
    with lan.Espota(split_ok=True, stall_s=0.02) as device:
        push(cli, device, "espota", nobody=nobody)
        assert device.flash == IMAGE


def test_espota_invitation_is_repeated_when_it_is_lost(cli, nobody):
    with lan.Espota(deaf=1) as device:
        push(cli, device, "espota", nobody=nobody)
        assert device.flash == IMAGE


@pytest.mark.client("ArduinoOTA ESP8266", "3.1.2", "pushed a file system")
def test_espota_takes_a_file_system(cli, nobody):
    with lan.Espota() as device:
        push(cli, device, "espota", nobody=nobody, image="filesystem=littlefs.bin")
        assert device.commands == [100] and len(device.flash) == 15000


@pytest.mark.client("ArduinoOTA ESP8266", "3.1.2", "flash stalls for seconds")
def test_espota_survives_a_device_that_stalls_for_seconds(cli, nobody, tmp_path):
    small = esp8266.arduino(product="lamp", filler=64)
    (tmp_path / "small.bin").write_bytes(small)
    with lan.Espota(stall_s=2) as device:
        push(cli, device, "espota", nobody=nobody, image="small.bin")
        assert device.flash == small


@pytest.mark.parametrize("fault,want,says", [
    ("strange", 1, "not ArduinoOTA"),
    ("nonce", 1, "not ArduinoOTA"),
    ("data", 1, "connection was lost while it was sent the image"),
    ("write", 1, "Flash Write Failed"),
    ("garble", 1, "arrived broken"),
    ("result", 1, "before it said that the image is whole"),
    ("endless", 1, "without end"),
    ("connect", 6, "did not connect to port"),
])
def test_espota_failures_are_told_apart(cli, nobody, fault, want, says):
    form = "md5" if fault == "nonce" else None
    with lan.Espota(fault=fault, form=form, password="blue sky") as device:
        done = push(cli, device, "espota", "--password-file", "ota.txt", nobody=nobody, want=want)
        assert says in done.stderr
        assert device.flash is None
        assert "\x1b" not in done.stderr


@pytest.mark.client("ArduinoOTA ESP8266", "3.1.2", "too large, wrong password, no password")
def test_espota_too_large_wrong_password_and_no_password(cli, nobody, tmp_path):
    with lan.Espota(room=1000) as device:
        assert "not enough room" in push(cli, device, "espota", nobody=nobody, want=1).stderr
    for form in ("md5", "sha256"):
        with lan.Espota(form=form, password="other") as device:
            done = push(cli, device, "espota", "--password-file", "ota.txt", nobody=nobody, want=4)
            assert "password is wrong" in done.stderr and device.flash is None
            done = push(cli, device, "espota", "--no-input", nobody=nobody, want=2)
            assert "--password-file" in done.stderr


def test_espota_image_goes_to_the_invited_device_alone(cli, nobody):
    """Who connects to the port without being the device is turned away."""
    with lan.Espota(stall_s=0.2, fault="connect") as device:
        listen = socket.create_server(("127.0.0.1", 0))
        port = listen.getsockname()[1]
        listen.close()
        process = subprocess.Popen([str(PAGURUS), "push", "127.0.0.2", "firmware.bin", "--protocol", "espota", "--port",
                                    str(device.port), "--listen-port", str(port), "--mdns", nobody, "--wait", "0s"],
                                   env=cli.env, cwd=cli.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            end = time.monotonic() + 10
            got = None
            while got is None and time.monotonic() < end:
                try:
                    with socket.create_connection(("127.0.0.1", port), timeout=5) as thief:
                        thief.settimeout(5)
                        got = thief.recv(4096)
                except ConnectionRefusedError:
                    time.sleep(0.02)
                except OSError:
                    got = b""
            # turned away, or never accepted: not a byte in either case
            assert not got
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)


# ---- ESPHome ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version,form", [
    (1, None), (2, None), (1, "sha256"),
    row("ESPHome OTA", "v1", "pushed with a password (MD5)", 1, "md5"),
    row("ESPHome OTA", "v2", "pushed with a password (MD5)", 2, "md5"),
    row("ESPHome OTA", "2025.10", "pushed with a password (SHA-256)", 2, "sha256"),
])
@pytest.mark.parametrize("packs", [False, True])
def test_esphome_takes_an_image(cli, nobody, version, form, packs):
    with lan.Esphome(version=version, form=form, packs=packs, password="blue sky") as device:
        push(cli, device, "esphome", "--password-file", "ota.txt", nobody=nobody)
        assert device.flash == IMAGE and device.was_packed == packs


@pytest.mark.parametrize("phase", ["greeting", "features", "auth", "size", "md5", "data", "received", "ended"])
@pytest.mark.parametrize("version", [row("ESPHome OTA", f"v{n}", "link lost at every phase", n) for n in (1, 2)])
def test_esphome_link_may_be_lost_at_every_phase(cli, nobody, phase, version):
    with lan.Esphome(version=version, form="md5", password="blue sky", fault=phase) as device:
        done = push(cli, device, "esphome", "--password-file", "ota.txt", nobody=nobody,
                    want=6 if phase in ("greeting", "features", "auth", "size", "md5") else 1)
        assert "connection was lost" in done.stderr
        assert device.flash is None


ERRORS = {0x80: "really ESPHome", 0x81: "prepare its flash", 0x82: "password is wrong", 0x83: "write its flash",
          0x84: "finish the update", 0x85: "reset button", 0x86: "wrong flash size", 0x87: "another flash size",
          0x88: "room beside the running image", 0x89: "partition is too small", 0x8A: "no update partition",
          0x8B: "arrived broken", 0x8C: "not enough room", 0x8D: "signature", 0xFF: "no code for", 0xC3: "not known here"}


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_esphome_errors_are_sentences(cli, nobody, code):
    phase = {0x80: "greeting", 0x82: "auth", 0x8B: "ended", 0x83: "data"}.get(code, "size")
    with lan.Esphome(error=(phase, code)) as device:
        done = push(cli, device, "esphome", nobody=nobody, want=4 if code == 0x82 else 1)
        assert ERRORS[code] in done.stderr and f"0x{code:02X}" in done.stderr


def test_esphome_refuses_a_nonce_that_is_none(cli, nobody):
    with lan.Esphome(form="sha256", password="blue sky", fault="nonce") as device:
        done = push(cli, device, "esphome", "--password-file", "ota.txt", nobody=nobody, want=1)
        assert "64 hex digits" in done.stderr


def test_esphome_of_another_version_is_not_guessed_at(cli, nobody):
    with lan.Esphome(version=7) as device:
        assert "version 7" in push(cli, device, "esphome", nobody=nobody, want=1).stderr


def test_esphome_survives_stalls(cli, nobody):
    with lan.Esphome(stall_s=0.6, packs=False) as device:
        push(cli, device, "esphome", nobody=nobody)
        assert device.flash == IMAGE


def test_esphome_takes_no_file_system(cli, nobody):
    with lan.Esphome() as device:
        done = push(cli, device, "esphome", nobody=nobody, image="filesystem=littlefs.bin", want=1)
        assert "firmware only" in done.stderr and device.pushes == 0


# ---- upload pages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind,field", [
    row("ESP8266HTTPUpdateServer", "2.5", "pushed by its own form, with each kind of password", "old", "update"),
    row("ESP8266HTTPUpdateServer", "2.6", "pushed by its own form, with each kind of password", "new", "firmware"),
])
@pytest.mark.parametrize("auth", [None, "basic", "digest"])
def test_upload_page_takes_an_image_by_its_own_form(cli, nobody, kind, field, auth):
    with lan.Web(kind=kind, auth=auth, password="blue sky") as device:
        push(cli, device, "web", "--password-file", "ota.txt", nobody=nobody)
        assert device.flash == IMAGE and device.field == field
        assert device.uploads == 1                     # not once for nothing to learn of the password


@pytest.mark.client("ESP8266HTTPUpdateServer", "2.6", "pushed a file system")
def test_upload_page_takes_a_file_system(cli, nobody, tmp_path):
    (tmp_path / "littlefs.bin").write_bytes(b"\xe9" + bytes(9000))
    with lan.Web(kind="new") as device:
        push(cli, device, "web", nobody=nobody, image="filesystem=littlefs.bin")
        assert device.field == "filesystem" and len(device.flash) == 9001


@pytest.mark.parametrize("kind,says", [
    row("ESP8266HTTPUpdateServer", "2.5", "a failure that is answered 200", "old", "Update Failed!"),
    row("ESP8266HTTPUpdateServer", "2.6", "a failure that is answered 200", "new", "ERROR[4]: Not Enough Space"),
])
def test_upload_page_that_fails_with_200_has_failed(cli, nobody, kind, says):
    with lan.Web(kind=kind, room=100) as device:
        assert says in push(cli, device, "web", nobody=nobody, want=1).stderr


@pytest.mark.parametrize("fault,says", [("data", "connection was lost"), ("result", "connection was lost"),
                                        ("refuse", "connection was lost"), ("endless", "no upload page")])
def test_upload_page_faults(cli, nobody, fault, says):
    with lan.Web(fault=fault) as device:
        assert says in push(cli, device, "web", nobody=nobody, want=1).stderr


def test_upload_page_password(cli, nobody):
    for auth in ("basic", "digest"):
        with lan.Web(auth=auth, password="other") as device:
            done = push(cli, device, "web", "--password-file", "ota.txt", nobody=nobody, want=4)
            assert "wrong" in done.stderr and device.uploads == 0
            done = push(cli, device, "web", "--no-input", nobody=nobody, want=2)
            assert "--password-file" in done.stderr and device.uploads == 0
    with lan.Web() as device:
        done = push(cli, device, "web", "--path", "/firmware", nobody=nobody, want=1)
        assert "no upload page at /firmware" in done.stderr


# ---- WLED ------------------------------------------------------------------------------------------------


@pytest.mark.client("WLED", "0.14", "pushed, back with the new version")
def test_wled_is_done_when_it_is_back_with_the_new_version(cli, nobody):
    with lan.Web(kind="wled", becomes="2.0.0", down_s=1.5) as device:
        out = cli.json("push", "127.0.0.1", "firmware.bin", "--protocol", "wled", "--port", device.port, "--mdns", nobody)
        assert device.flash == IMAGE and device.field == "update"
        assert (out["before"], out["after"], out["exit"]) == ("0.14.0", "2.0.0", 0)


def test_wled_that_comes_back_with_the_old_version_is_no_success(cli, nobody):
    with lan.Web(kind="wled", down_s=1.5) as device:
        done = cli("push", "127.0.0.1", "firmware.bin", "--protocol", "wled", "--port", device.port, "--mdns", nobody,
                   want=8)
        assert "runs 0.14.0, not 2.0.0" in done.stderr


def test_wled_that_does_not_come_back_is_said_so(cli, nobody):
    with lan.Web(kind="wled", down_s=3600) as device:
        done = cli("push", "127.0.0.1", "firmware.bin", "--protocol", "wled", "--port", device.port, "--mdns", nobody,
                   "--wait", "3s", want=7)
        assert "has not come back" in done.stderr


@pytest.mark.client("WLED", "0.14", "locked")
def test_wled_that_is_locked_says_what_to_do(cli, nobody):
    with lan.Web(kind="wled", locked=True) as device:
        done = push(cli, device, "wled", nobody=nobody, want=4)
        assert "unlock" in done.stderr and device.flash is None


def test_image_for_another_chip_is_not_sent(cli, nobody, tmp_path):
    image = bytearray(IMAGE[0x1000:])
    with lan.Web(kind="wled") as device:
        # an ESP32 image: the extended header says chip 0
        segment = b"\x00" * 32
        head = bytes([0xE9, 1, 2, 0x20]) + (0x40080000).to_bytes(4, "little") + bytes([0xEE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        body = head + (0x3F400020).to_bytes(4, "little") + (32).to_bytes(4, "little") + segment
        body += bytes(-(len(body) + 1) % 16) + b"\xef"
        (tmp_path / "esp32.bin").write_bytes(body)
        done = cli("push", "127.0.0.1", "esp32.bin", "--protocol", "wled", "--port", device.port, "--mdns", nobody, want=2)
        assert device.uploads == 0 and image
        assert "is built for" in done.stderr or "esp32" in done.stderr


def test_broken_image_is_never_sent(cli, nobody, tmp_path):
    (tmp_path / "broken.bin").write_bytes(IMAGE[:-7] + b"1234567")
    with lan.Esphome() as device:
        push(cli, device, "esphome", nobody=nobody, image="broken.bin", want=2)
        assert device.pushes == 0


# ---- finding ---------------------------------------------------------------------------------------------


def test_device_is_found_by_what_it_announces(cli):
    with lan.Espota() as device, lan.Responder() as dns:
        dns.services = [{"service": "_arduino._tcp", "name": "esp8266-a1b2c3", "host": "esp8266-a1b2c3",
                         "port": device.port, "txt": {"board": "ESP8266_WEMOS_D1MINI", "auth_upload": "no"}}]
        done = cli("push", "esp8266-a1b2c3.local", "firmware.bin", "--mdns", dns.address)
        assert device.flash == IMAGE
        assert "espota at 127.0.0.1" in done.stderr and "says no version" in done.stderr


def test_esphome_version_is_read_from_its_record(cli):
    with lan.Esphome() as device, lan.Responder() as dns:
        def announce():
            return {"service": "_esphomelib._tcp", "name": "lamp", "host": "lamp", "port": 6053,
                    "txt": {"version": "2025.10.1", "project_name": "acme.lamp", "platform": "ESP8266",
                            "project_version": "2.0.0" if device.boots else "1.0.0", "mac": "84f3eb0000b7"}}
        dns.services = [announce]
        out = cli.json("push", "lamp", "firmware.bin", "--port", device.port, "--mdns", dns.address)
        assert device.flash == IMAGE
        assert (out["before"], out["after"]) == ("1.0.0", "2.0.0")


def test_nobody_there(cli, nobody):
    dead = socket.create_server(("127.0.0.1", 0))
    port = dead.getsockname()[1]
    dead.close()
    done = cli("push", "127.0.0.1", "firmware.bin", "--protocol", "esphome", "--port", port, "--mdns", nobody, want=6)
    assert "nothing listens" in done.stderr
    done = cli("push", "no-such-host.invalid", "firmware.bin", "--protocol", "web", "--mdns", nobody, want=6)
    assert "no host" in done.stderr
    assert "does not announce" in cli("push", "127.0.0.1", "firmware.bin", "--mdns", nobody, want=2).stderr


def test_ctrl_c_ends_a_push_at_once(cli, nobody):
    with lan.Esphome(stall_s=30) as device:
        process = subprocess.Popen([str(PAGURUS), "push", "127.0.0.1", "firmware.bin", "--protocol", "esphome", "--port",
                                    str(device.port), "--mdns", nobody], env=cli.env, cwd=cli.cwd,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 20
        while device.pushes == 0 and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 130 and "stopped" in said
