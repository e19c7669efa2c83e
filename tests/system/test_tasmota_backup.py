"""pagurus tasmota backup and restore: the configuration pages of a Tasmota, emulated as settings.ino and the web server driver behave."""

import json
import os
import stat
import struct

import pytest

from support import lan_devices as lan
from test_cli import Cli

SETTINGS = lan.tasmota_settings()
OTHER = lan.tasmota_settings(text=b"cellar")


@pytest.fixture()
def cli(tmp_path):
    one = Cli(tmp_path)
    secret = tmp_path / "web.txt"
    secret.write_text("blue sky\n")
    secret.chmod(0o600)
    (tmp_path / "other.dmp").write_bytes(OTHER)
    return one


def backup(cli, device, *more, want=0):
    return cli("tasmota", "backup", "127.0.0.1", "--port", device.port, "--mdns", "none", *more, want=want)


def restore(cli, device, file, *more, want=0, wait="20s"):
    return cli("tasmota", "restore", "127.0.0.1", file, "--port", device.port, "--mdns", "none", "--yes", "--wait", wait, *more, want=want)


def test_a_backup_is_the_device_s_own_file_and_only_its_owner_s(cli, tmp_path):
    with lan.Tasmota() as device:
        done = backup(cli, device, "-o", "kitchen.dmp")
    assert done.stdout == "kitchen.dmp\n" and "13.4.0" in done.stderr
    assert (tmp_path / "kitchen.dmp").read_bytes() == SETTINGS
    assert stat.S_IMODE(os.stat(tmp_path / "kitchen.dmp").st_mode) == 0o600


def test_the_file_is_named_after_the_host(cli, tmp_path):
    with lan.Tasmota() as device:
        backup(cli, device)
    assert (tmp_path / "127.0.0.1.dmp").read_bytes() == SETTINGS


@pytest.mark.parametrize("more, code, said", [((), 2, "--password-file"), (("--password-file", "web.txt"), 0, "")])
def test_a_password_is_taken_from_its_file(cli, more, code, said):
    with lan.Tasmota(password="blue sky") as device:
        assert said in backup(cli, device, "--no-input", *more, want=code).stderr


def test_a_wrong_password_is_denied_and_writes_nothing(cli, tmp_path):
    with lan.Tasmota(password="red sky") as device:
        backup(cli, device, "--password-file", "web.txt", "-o", "kitchen.dmp", want=4)
    assert not (tmp_path / "kitchen.dmp").exists()


def test_what_came_broken_is_not_kept(cli, tmp_path):
    (tmp_path / "kitchen.dmp").write_bytes(b"an older backup")
    with lan.Tasmota(fault="data") as device:
        assert "cannot be restored" in backup(cli, device, "-o", "kitchen.dmp", want=1).stderr
    assert (tmp_path / "kitchen.dmp").read_bytes() == b"an older backup"


def test_a_minimal_build_has_no_backup(cli):
    with lan.Tasmota(minimal=True) as device:
        assert "minimal" in backup(cli, device, want=1).stderr


def test_nobody_there_is_exit_6(cli):
    with lan.Tasmota() as device:
        pass
    backup(cli, device, want=6)


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("down_s", [0, 1])
def test_a_restore_replaces_the_configuration_and_the_version_is_read_again(cli, language, down_s):
    with lan.Tasmota(language=language, down_s=down_s) as device:
        done = restore(cli, device, "other.dmp")
        assert device.settings == OTHER and device.boots == 1 and device.field == "u2"
        assert device.upload_paths == [f"/u2?fsz={len(OTHER)}"]
    assert done.stdout == "13.4.0(tasmota)\n" and "is back" in done.stderr


def test_files_of_drivers_go_along(cli, tmp_path):
    whole = lan.tasmota_settings(drivers={12: b"twelve" * 9, 68: b"x" * 28})
    with lan.Tasmota(settings=whole) as device:
        backup(cli, device, "-o", "kitchen.dmp")
        assert (tmp_path / "kitchen.dmp").read_bytes() == whole
        device.settings = SETTINGS
        restore(cli, device, "kitchen.dmp")
        assert device.settings == whole


def test_firmware_of_2020_wants_the_password_in_the_url(cli):
    with lan.Tasmota(settings=lan.tasmota_settings(0x08010000), version="8.1.0(tasmota)", old=True, password="blue sky") as device:
        (cli.home / "old.dmp").write_bytes(lan.tasmota_settings(0x08010000, text=b"attic"))
        restore(cli, device, "old.dmp", "--password-file", "web.txt")
        assert device.restores == 1


def test_a_backup_may_bring_another_password(cli):
    with lan.Tasmota(password="blue sky", becomes_password="red sky", down_s=1) as device:
        assert "password is that of the backup" in restore(cli, device, "other.dmp", "--password-file", "web.txt").stderr


def spoiled(at):
    data = bytearray(SETTINGS)
    data[at] ^= 1
    return bytes(data)


@pytest.mark.parametrize("data, said", [
    (b"", "no Tasmota configuration"), (SETTINGS[:4000], "checksum"), (spoiled(700), "checksum"), (spoiled(4095), "checksum"),
    (b"\xe9" + bytes(5000), "no Tasmota configuration"), (SETTINGS + b"x", "no Tasmota configuration"),
    (lan.tasmota_settings(drivers={12: b"a" * 40})[:-16], "cut off"),
    (lan.tasmota_settings(0x0E000000), "older 13.4.0"), (lan.tasmota_settings(chip=1), "of an ESP32"),
    (lan.tasmota_settings(chip=99), "unknown chip"),
], ids=["empty", "short", "bit", "sum", "firmware", "longer", "cut", "newer", "chip", "chips"])
def test_a_file_that_would_harm_is_refused_before_it_is_sent(cli, tmp_path, data, said):
    (tmp_path / "bad.dmp").write_bytes(data)
    with lan.Tasmota() as device:
        assert said in restore(cli, device, "bad.dmp", want=2).stderr
        assert device.upload_paths == [] and device.settings == SETTINGS


@pytest.mark.parametrize("language, word", [("en", "Failed"), ("de", "Fehlgeschlagen")])
def test_what_the_device_refuses_is_said_in_its_words(cli, tmp_path, language, word):
    (tmp_path / "esp32.dmp").write_bytes(lan.tasmota_settings(chip=1))
    with lan.Tasmota(language=language, hardware="a chip of tomorrow") as device:  # nobody here can tell: the device itself refuses
        device.take = lambda data: "File invalid"
        said = restore(cli, device, "esp32.dmp", want=1).stderr
        assert word in said and "File invalid" in said and device.boots == 0


def test_a_device_that_does_not_come_back_is_exit_7(cli):
    with lan.Tasmota(stays=True) as device:
        assert "has not come back" in restore(cli, device, "other.dmp", want=7, wait="2s").stderr


def test_a_restore_asks_first(cli):
    with lan.Tasmota() as device:
        done = cli("tasmota", "restore", "127.0.0.1", "other.dmp", "--port", device.port, "--mdns", "none", "--no-input", want=2)
        assert "--yes" in done.stderr and device.restores == 0


def test_all_and_a_host_exclude_each_other(cli):
    cli("tasmota", "backup", want=2)
    cli("tasmota", "backup", "127.0.0.1", "--all", want=2)


def test_json_says_what_was_kept(cli):
    with lan.Tasmota() as device:
        shown = json.loads(backup(cli, device, "--json", "-o", "k.dmp").stdout)
    assert (shown["version"], shown["bytes"], shown["file"], shown["result"]) == ("13.4.0", 4096, "k.dmp", "ok")


def test_configurations_of_6_6_with_the_small_sum_are_known(cli, tmp_path):
    plain = bytearray(3584)
    plain[0:4] = struct.pack("<HH", 4617, 3584)
    plain[8:12] = struct.pack("<I", 0x06060000)
    plain[300:307] = b"kitchen"
    plain[14:16] = struct.pack("<H", sum(c * (i + 1) for i, c in enumerate(plain) if i not in (14, 15)) & 0xFFFF)
    (tmp_path / "old.dmp").write_bytes(lan.tasmota_cover(bytes(plain)))
    with lan.Tasmota() as device:
        device.take = lambda data: None
        restore(cli, device, "old.dmp", wait="0s")
        (tmp_path / "old.dmp").write_bytes(lan.tasmota_cover(bytes(plain[:-1]) + b"\1"))
        assert "checksum" in restore(cli, device, "old.dmp", want=2).stderr
