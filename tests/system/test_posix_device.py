"""A posix device as real processes: the loader installs, boots, resets; firmware updates itself over TLS and MQTT.

First against the small server of sim_server.py (the agent alone), then against pagurusd.
"""

import hashlib
import os
import pathlib
import signal
import subprocess
import time

import pytest

import signing
import sim_server
from conftest import BUILD

LOADER = BUILD / "pagurus-posix-loader"
FAST = {"poll_s": 1, "status_s": 1, "trial_s": 8, "backoff_min_s": 1, "backoff_max_s": 4, "trigger_gap_s": 0,
        "trigger_jitter_s": 0}


def firmware(suffix):
    return (BUILD / f"pagurus-posix-device-{suffix}").read_bytes()


class Posix:
    """One device folder, its loader process and what it has written."""

    def __init__(self, folder, config, ca_pem, first="1.0.0"):
        self.folder = pathlib.Path(folder)
        self.dir = self.folder / "device"
        self.log_file = self.folder / "device.log"
        self.process = None
        subprocess.run([LOADER, "--install", BUILD / f"pagurus-posix-device-{first}", "--slot-bytes", str(8 << 20),
                        self.dir], check=True, timeout=20)
        lines = [f"{key}={value}" for key, value in {**FAST, **config}.items()]
        (self.dir / "device.conf").write_text("\n".join(lines) + "\n" + ca_pem)

    def start(self):
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([LOADER, self.dir], stdout=log, stderr=log)
        return self

    def stop(self):
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGTERM)
            self.process.wait(10)
            self.process = None

    @property
    def log(self):
        return self.log_file.read_text()

    def until(self, check, wait_s=40):
        end = time.monotonic() + wait_s
        while not check():
            assert time.monotonic() < end, self.log[-4000:]
            time.sleep(0.05)

    def until_said(self, text, wait_s=40):
        self.until(lambda: text in self.log, wait_s)

    def firmware_pid(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])


# ---- the agent alone ---------------------------------------------------------------------------------------


@pytest.fixture
def fleet(tmp_path):
    server = sim_server.FleetServer(tmp_path)
    server.publish_posix = lambda version, image, sequence: publish_posix(server, version, image, sequence)
    yield server
    server.stop()


def publish_posix(server, version, image, sequence):
    server.image, server.digest = image, hashlib.sha256(image).hexdigest()
    server.manifest = signing.manifest(server.release, sim_server.PRODUCT_ID, "posix", ["posix"], version, sequence,
                                       image)


@pytest.fixture
def alone(tmp_path, fleet):
    config = {"server": "localhost", "port": fleet.port, "product": sim_server.PRODUCT_ID, "hardware": "posix",
              "chip": "posix", "mac": "84f3eb0000aa", "claim": "ABCD-EFGH",
              "trust_pin": hashlib.sha256(fleet.trust).hexdigest()}
    device = Posix(tmp_path, config, (tmp_path / "ca.pem").read_text())
    yield device
    device.stop()


def states(fleet):
    return [report[1][2] for report in fleet.reports]


def test_a_process_replaces_itself_and_confirms(fleet, alone):
    alone.start().until_said("agent.enrolled")
    alone.until_said("mqtt.up")
    before = alone.firmware_pid()
    fleet.publish_posix("1.1.0", firmware("1.1.0"), 2)
    alone.until_said("thermometer 1.1.0 in slot B")
    alone.until(lambda: 5 in states(fleet))
    assert "on trial" in alone.log
    assert alone.firmware_pid() == before  # an exec, not a restart
    assert states(fleet)[-1] == 5 and 6 not in states(fleet)
    time.sleep(1)  # the acknowledgement is on its way
    alone.stop()
    alone.start().until(lambda: alone.log.count("thermometer 1.1.0 in slot B") >= 2)
    time.sleep(1.5)
    assert states(fleet).count(5) == 1  # reported once, and a plain start reports nothing


def test_an_image_that_crashes_is_tried_three_times_and_gone_back_from(fleet, alone):
    fleet.publish_posix("1.2.0", firmware("crashes"), 2)
    alone.start()
    alone.until(lambda: 7 in states(fleet))
    assert alone.log.count("on trial") == 3
    assert alone.log.rstrip().count("thermometer 1.0.0 in slot A") == 2


def test_an_image_that_never_gets_healthy_is_gone_back_from_after_the_deadline(fleet, alone):
    fleet.publish_posix("1.3.0", firmware("unhealthy"), 2)
    alone.start()
    alone.until(lambda: 7 in states(fleet))
    assert "thermometer 1.3.0 in slot B" in alone.log
    assert fleet.reports[-1][1][2] in (7, 9)


def test_killed_at_any_moment_the_device_still_ends_on_the_new_image(fleet, alone):
    fleet.publish_posix("1.1.0", firmware("1.1.0"), 2)
    alone.start()
    pause = 0.15
    while 5 not in states(fleet) and pause < 8:
        time.sleep(pause)
        pause *= 1.5
        if alone.process.poll() is None:
            try:
                os.kill(alone.firmware_pid(), signal.SIGKILL)
            except (IndexError, ProcessLookupError):
                pass
    alone.until(lambda: 5 in states(fleet) or 7 in states(fleet))


def test_a_server_of_another_authority_gets_no_request(fleet, alone, tmp_path):
    other = sim_server.Authority()
    text = (alone.dir / "device.conf").read_text()
    head = text[:text.index("-----BEGIN")]
    (alone.dir / "device.conf").write_text(head + other.certificate.public_bytes(sim_server.PEM).decode())
    alone.start().until_said("agent.failed")
    time.sleep(1)
    assert fleet.checks == [] and "agent.enrolled" not in alone.log


def test_a_wrong_line_of_the_configuration_is_named(alone):
    with open(alone.dir / "device.conf", "a") as conf:
        conf.write("poll_seconds=3\n")
    line = (alone.dir / "device.conf").read_text().count("\n")
    done = subprocess.run([LOADER, "--once", alone.dir], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 78
    assert f"device.conf:{line}: poll_seconds: there is no such key" in done.stderr


# ---- with pagurusd -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def owner(server_mqtt):
    return signing.Publisher(server_mqtt, "thermometer")


@pytest.fixture
def device(tmp_path, server_mqtt, owner):
    code = server_mqtt.rest("POST", "/enrollment/codes", {"product": owner.name, "uses": 1, "ttl_s": 600})["code"]
    mac = "84f3eb" + os.urandom(3).hex()
    config = {"server": "localhost", "port": server_mqtt.ports["device"], "product": owner.product_id,
              "hardware": "posix", "chip": "posix", "mac": mac, "claim": code, "poll_s": 30,
              "trust_pin": hashlib.sha256(owner.trust).hexdigest()}
    one = Posix(tmp_path, config, (server_mqtt.data / "ca" / "root.pem").read_text())
    one.mac = mac
    yield one
    one.stop()


def shown(server, device):
    return server.rest("GET", f"/devices/{device.mac}")


def test_a_push_reaches_the_process_over_mqtt_and_is_confirmed(server_mqtt, owner, device):
    device.start().until_said("mqtt.up")
    device.until(lambda: shown(server_mqtt, device)["online"])
    owner.publish("1.1.0", firmware("1.1.0"))
    device.until_said("thermometer 1.1.0 in slot B")
    device.until(lambda: shown(server_mqtt, device)["state"] == "up_to_date")
    assert shown(server_mqtt, device)["running"]["version"] == "1.1.0"
    device.until(lambda: [one for one in server_mqtt.rest("GET", f"/devices/{device.mac}/data")["data"]
                          if one["topic"].endswith("temp")])


def test_a_crashing_push_ends_reverted_on_the_image_before(server_mqtt, owner, device):
    device.start().until_said("mqtt.up")
    owner.publish("1.2.0", firmware("crashes"))
    device.until(lambda: shown(server_mqtt, device)["state"] in ("reverted", "blocked"), 60)
    assert shown(server_mqtt, device)["running"]["version"] in ("1.0.0", "1.1.0")


def test_presence_is_retained_and_ends_with_the_process(server_mqtt, owner, device):
    device.start().until_said("mqtt.up")
    device.until(lambda: shown(server_mqtt, device)["online"])
    device.stop()
    device.until(lambda: not shown(server_mqtt, device)["online"])


STATUS = {"version": str, "sha256": str, "sequence": int, "slot": int, "boot_state": int, "uptime_ms": int,
          "loop_max_ms": int, "mqtt_ms": int, "free_heap": int, "restarts": int, "reset_reason": str, "error": str}


def test_rest_shows_the_whole_status_of_a_device(server_mqtt, owner, device):
    owner.publish("1.3.0", firmware("unhealthy"))
    conf = device.dir / "device.conf"
    lines = ["trust_pin=" + "00" * 32 if line.startswith("trust_pin=") else line
             for line in conf.read_text().splitlines()]
    conf.write_text("\n".join(lines) + "\n")  # so that there is an error to show
    device.start().until_said("mqtt.up")

    def status():
        return server_mqtt.rest("GET", f"/devices/{device.mac}/data").get("status") or {}

    device.until(lambda: "error" in status())
    shown_status = status()
    assert {name: type(shown_status.get(name)) for name in STATUS} == STATUS
    assert set(shown_status) - set(STATUS) <= {"rssi", "stale"}  # this machine may have a radio
    assert shown_status["version"] == "1.0.0" and shown_status["slot"] == 0 and shown_status["boot_state"] == 0
    assert shown_status["sha256"] == hashlib.sha256(firmware("1.0.0")).hexdigest()
    assert shown_status["reset_reason"] == "power" and shown_status["restarts"] == 0
    os.kill(device.firmware_pid(), signal.SIGKILL)
    device.until(lambda: status().get("reset_reason") == "crash" and status()["restarts"] == 1)
