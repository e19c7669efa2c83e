"""What somebody meets in the first hour: wrong ports, wrong files, wrong keys, full disks. Each message says what is wrong
and what to do, and says it once."""

import http.server
import json
import os
import socket
import subprocess
import threading
import time

import pytest

from conftest import BUILD, ROOT
from fake_rest import TOKEN, make_certificates
from test_cli import cli, device, fake, firmware, product_of, signed_in  # noqa: F401 (fixtures)

PASSWORDLESS = ("--no-passphrase",)


def values_of(text):
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith(("#", "M")))


# ---- enroll device-config ----


@pytest.fixture
def ready(signed_in, fake, firmware):  # noqa: F811
    """Signed in, with product meter, its keys first and first-root, and release 1.0.0."""
    product_of(fake)
    signed_in("release", "push", firmware("1.0.0"), "--sign", "first", *PASSWORDLESS)
    fake.calls.clear()
    return signed_in


def test_device_config_takes_the_mac_and_the_port_that_the_server_listens_on(ready, fake):  # noqa: F811
    fake.listeners = [{"name": "console", "address": "::", "port": 8443, "tls": True},
                      {"name": "device", "address": "::", "port": 33853, "tls": True}]
    done = ready("enroll", "device-config", "-p", "meter", "--mac", "84:F3:EB:00:00:AA")
    values = values_of(done.stdout)
    assert values["mac"] == "84f3eb0000aa" and values["port"] == "33853" and values["server"] == "127.0.0.1"
    asked = [json.loads(body) for method, path, _, body in fake.calls if method == "POST"]
    assert asked[0]["mac"] == "84f3eb0000aa"
    assert values_of(ready("enroll", "device-config", "-p", "meter", "--device-server", "ota.lan").stdout)["port"] == "33853"


def test_device_config_without_a_mac_says_that_the_line_is_to_be_added(ready, fake):  # noqa: F811
    fake.listeners = [{"name": "device", "address": "::", "port": 8444, "tls": True}]
    done = ready("enroll", "device-config", "-p", "meter", "-o", "device.conf")
    assert "mac=" in done.stderr and "--mac" in done.stderr
    text = (ready.home / "device.conf").read_text()
    assert "mac" not in values_of(text) and "# mac=" in text
    assert (ready.home / "device.conf").stat().st_mode & 0o777 == 0o600  # the claim in it is a secret
    assert "twelve hex digits" in ready("enroll", "device-config", "-p", "meter", "--mac", "84f3", want=2).stderr
    assert not any(method == "POST" and b"84f3\"" in body for method, _, _, body in fake.calls)


def test_device_config_guesses_no_port_when_the_server_names_none(ready, fake):  # noqa: F811
    fake.listeners = []
    done = ready("enroll", "device-config", "-p", "meter", want=3)
    assert "--device-server" in done.stderr
    assert not any(method == "POST" for method, *_ in fake.calls), "a code was made and not shown"


# ---- what is shown ----

def test_device_data_shows_numbers_objects_and_texts_as_they_came(signed_in, fake):  # noqa: F811
    fake.devices = {"pump-1": device("pump-1")}
    long = {"list": list(range(400))}
    payloads = [21.5, 3, -0.25, 1e-7, True, {"a": 1.5, "b": [None]}, "wet", long]
    fake.data = {"status": {}, "status_at": None,
                 "data": [{"topic": f"t{n}", "at": "2026-03-01T11:04:10.000Z", "payload": p} for n, p in enumerate(payloads)]}
    rows = [line.split("\t")[2] for line in signed_in("device", "data", "pump-1").stdout.splitlines()[1:]]
    assert rows[:4] == ["21.5", "3", "-0.25", "1e-07"] and rows[4] == "yes" and rows[6] == "wet"
    assert json.loads(rows[5]) == payloads[5] and json.loads(rows[7]) == long
    fake.data["data"][0]["payload"] = {"list": ["x" * 10] * 2000}
    cut = signed_in("device", "data", "pump-1", "--no-header").stdout.splitlines()[0].split("\t")[2]
    assert cut.startswith('{"list":["xxxxxxxxxx",') and cut.endswith("…"), cut[-20:]


def test_status_shows_states_as_a_table_and_not_as_json(signed_in, fake):  # noqa: F811
    fake.by_state = {"new": 0, "up_to_date": 41, "updating": 3, "failed": 1}
    text = signed_in("status").stdout
    assert "{" not in text and "STATE\tDEVICES\n" in text
    assert "up_to_date\t41\n" in text and "failed\t1\n" in text and "new\t0" not in text
    fake.by_state = {"new": 0}
    assert "STATE" not in signed_in("status").stdout


def test_a_refusal_says_each_sentence_once(signed_in, fake):  # noqa: F811
    fake.problem_next = [(422, "invalid-field", "slot_bytes: a whole number of sectors.", {"errors": [
        {"pointer": "/slot_bytes", "code": "range", "detail": "slot_bytes: a whole number of sectors."},
        {"pointer": "/name", "code": "range", "detail": "1 to 32 characters"}], "help": "See 'errors'."})]
    said = signed_in("product", "create", "lamp", "--chip", "posix", "--hardware", "posix", want=2).stderr
    assert said.count("a whole number of sectors") == 1 and said.count("1 to 32 characters") == 1
    assert "/slot_bytes" in said and "fix: mend what is named above" in said
    fake.problem_next = [(422, "claim-refused", "The code is used up.", {"help": "The code is used up."})]
    assert signed_in("whoami", want=2).stderr.count("The code is used up") == 1


def test_help_of_releases_says_what_the_columns_count(cli):  # noqa: F811
    for words in (("release", "list", "--help"), ("release", "show", "--help")):
        text = cli(*words).stdout
        assert "FAILED" in text and "refused" in text and "REVERTED" in text


# ---- signing ----

def test_push_without_sign_says_which_key_it_takes_and_why(ready, firmware):  # noqa: F811
    assert "the only key" in ready("release", "push", "--help").stdout
    done = ready("release", "push", firmware("1.1.0"))
    assert "signing with key first, the only one here that trust set 1 of meter allows" in done.stderr


def test_a_root_key_never_signs_a_release_and_the_advice_is_a_release_key(ready, fake, firmware):  # noqa: F811
    done = ready("release", "push", firmware("1.1.0"), "--sign", "first-root", want=4)
    assert "root key" in done.stderr and "--add-release first-root" not in done.stderr
    assert "--sign first" in done.stderr and "offline" in done.stderr
    assert all(method == "GET" for method, *_ in fake.calls)
    for ending in (".pem", ".pub"):
        (ready.home / "cfg" / "pagurus" / "keys" / f"first{ending}").unlink()
    done = ready("release", "push", firmware("1.1.0"), "--sign", "first-root", want=4)
    assert "pagurus key generate" in done.stderr and "--add-release first-root" not in done.stderr


def test_the_root_is_refused_before_its_passphrase_is_asked_for(signed_in, fake, firmware):  # noqa: F811
    product_of(fake)
    signed_in("release", "push", firmware("1.0.0"), "--sign", "first", "--passphrase-file", signed_in.passphrase)
    assert "root key" in signed_in("release", "push", firmware("1.1.0"), "--sign", "first-root", "--no-input", want=4).stderr


def test_a_version_that_the_firmware_denies_is_refused_before_a_draft_exists(ready, fake, firmware):  # noqa: F811
    done = ready("release", "push", firmware("1.1.0"), "--version", "2.0.0", want=2)
    assert "1.1.0" in done.stderr and "2.0.0" in done.stderr and "fix:" in done.stderr
    assert all(method == "GET" for method, *_ in fake.calls) and len(fake.releases) == 1
    ready("release", "push", firmware("1.1.0"), "--version", "1.1.0")


# ---- login ----

@pytest.fixture
def plain_http():
    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):  # noqa: N802
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"hi")
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield httpd.server_address[1]
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def login(cli, url, *more, want):  # noqa: F811
    done = cli("login", url, "--token-stdin", "--timeout", "3s", *more, stdin=TOKEN + "\n", want=want)
    assert "fix:" in done.stderr, done.stderr
    return done.stderr


def test_login_to_a_plain_port_says_that_it_speaks_plain_http(cli, plain_http):  # noqa: F811
    said = login(cli, f"https://127.0.0.1:{plain_http}", want=6)
    assert "does not speak TLS" in said and "plain HTTP" in said and "wrong version" not in said
    said = login(cli, f"http://127.0.0.1:{plain_http}", want=6)
    assert "not the console of a Pagurus server" in said


def test_login_with_http_to_a_tls_port_says_https(cli, fake):  # noqa: F811
    said = login(cli, fake.url.replace("https://", "http://"), want=6)
    assert "speaks TLS" in said and fake.url in said
    assert not any("Authorization" in headers for _, _, headers, _ in fake.calls)


def test_login_to_a_closed_port_names_the_usual_one(cli):  # noqa: F811
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        said = login(cli, f"https://127.0.0.1:{port}", want=6)
    assert "nothing listens" in said and "8443" in said


def test_login_names_what_is_wrong_with_a_ca_file(cli, fake, tmp_path):  # noqa: F811
    empty = tmp_path / "note.txt"
    empty.write_text("not a certificate\n")
    assert f"the file {empty} holds no PEM certificate" in login(cli, fake.url, "--ca", empty, want=2)
    assert "gone.pem" in login(cli, fake.url, "--ca", tmp_path / "gone.pem", want=2)
    (tmp_path / "other").mkdir()
    other, _, _ = make_certificates(tmp_path / "other")
    (tmp_path / "other.pem").write_bytes(other)
    said = login(cli, fake.url, "--ca", tmp_path / "other.pem", want=6)
    assert f"is not signed by the CA in {tmp_path / 'other.pem'}" in said
    assert not any("Authorization" in headers for _, _, headers, _ in fake.calls)
    said = login(cli, fake.url.replace("127.0.0.1", "localhost"), "--ca", fake.root_file, want=6)
    assert "is not for the name localhost" in said and "server.names" in said


def test_a_ca_file_is_remembered_with_its_whole_path(cli, fake, tmp_path):  # noqa: F811
    (cli.home / "root.pem").write_bytes(fake.root_pem)
    cli("login", fake.url, "--token-stdin", "--ca", "root.pem", "--name", "lab", stdin=TOKEN + "\n")
    cli("context", "add", "other", fake.url, "--ca", "root.pem", "--token-file", cli.home / "cfg/pagurus/tokens/lab")
    cli.cwd = tmp_path
    cli("whoami")
    cli("whoami", "--context", "other")


def test_a_ca_file_that_is_none_is_named_by_every_command(signed_in, tmp_path):  # noqa: F811
    (tmp_path / "note.txt").write_text("x")
    assert "holds no PEM certificate" in signed_in("whoami", "--ca", tmp_path / "note.txt", want=2).stderr


def test_login_to_the_ports_of_devices_and_of_the_broker_says_so(cli, server_mqtt):  # noqa: F811
    root = server_mqtt.data / "ca" / "root.pem"
    for name in ("device", "mqtt"):
        said = login(cli, f"https://127.0.0.1:{server_mqtt.ports[name]}", "--ca", root, want=6)
        assert "not the console of a Pagurus server" in said and "8443" in said, said
        said = login(cli, f"https://127.0.0.1:{server_mqtt.ports[name]}", want=6)
        assert "not the console of a Pagurus server" in said and "fingerprint" not in said, said


# ---- full disks ----

@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=False,
                                           stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder, leave):
    with open(folder / "filler", "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass
        f.truncate(max(0, os.fstat(f.fileno()).st_size - leave))


@pytest.mark.parametrize("leave", [0, 4096])
def test_a_key_on_a_full_disk_is_whole_or_not_there(cli, small_disk, leave):  # noqa: F811
    (small_disk / "pagurus" / "keys").mkdir(parents=True)
    fill(small_disk, leave)
    done = cli("key", "generate", "ci", "--no-passphrase", env={"XDG_CONFIG_HOME": str(small_disk)}, want=1)
    assert "No space left" in done.stderr and "fix:" in done.stderr and "free space" in done.stderr
    assert list((small_disk / "pagurus" / "keys").iterdir()) == []
    (small_disk / "filler").unlink()
    cli("key", "generate", "ci", "--no-passphrase", env={"XDG_CONFIG_HOME": str(small_disk)})


def test_output_to_a_full_disk_fails_and_leaves_nothing(ready, fake, small_disk):  # noqa: F811
    fake.listeners = [{"name": "device", "address": "::", "port": 8444, "tls": True}]
    fill(small_disk, 0)
    done = ready("enroll", "device-config", "-p", "meter", "--mac", "84f3eb0000aa", "-o", small_disk / "device.conf", want=1)
    assert "fix:" in done.stderr and "No space left" in done.stderr
    done = ready("release", "download", "1.0.0", "-o", small_disk / "a.bin", want=1)
    assert "disk" in done.stderr and [f.name for f in small_disk.iterdir()] == ["filler"]


def test_a_login_on_a_full_disk_is_no_login(cli, fake, small_disk):  # noqa: F811
    (small_disk / "pagurus").mkdir()
    fill(small_disk, 0)
    done = cli("login", fake.url, "--token-stdin", "--ca", fake.root_file, stdin=TOKEN + "\n", want=1,
               env={"XDG_CONFIG_HOME": str(small_disk)})
    assert "fix:" in done.stderr and [f for f in (small_disk / "pagurus").rglob("*") if f.is_file()] == []


# ---- the device's own configuration ----

LOADER = BUILD / "pagurus-posix-loader"
GOOD = {"server": "localhost", "port": "8444", "product": "0011223344556677", "hardware": "posix", "chip": "posix",
        "mac": "84f3eb0000aa"}


@pytest.fixture
def bench(tmp_path):
    """(folder of a posix device, config) -> its firmware's exit code and words."""
    folder = tmp_path / "meter"
    subprocess.run([LOADER, "--install", BUILD / "pagurus-posix-device-1.0.0", "--slot-bytes", str(8 << 20), folder],
                   check=True, timeout=20)

    def boot(text):
        (folder / "device.conf").write_text(text)
        return subprocess.run([LOADER, "--once", folder], capture_output=True, text=True, timeout=20, check=False)
    boot.folder = folder
    return boot


def lines(**more):
    return "".join(f"{key}={value}\n" for key, value in {**GOOD, **more}.items() if value is not None)


@pytest.mark.parametrize(("text", "says"), [
    (lines(port="99999"), ("device.conf:2: ", "port", "99999", "a whole number from 1 to 65535")),
    (lines(chip="esp9"), ("device.conf:5: ", "chip", "esp9", "esp8266")),
    (lines(mac="84f3"), ("device.conf:6: ", "mac", "84f3", "12 hex digits")),
    (lines(pollrate="5"), ("device.conf:7: ", "pollrate", "no such key")),
    (lines() + "port=1\n", ("device.conf:7: ", "port", "twice")),
    (lines() + "hello\n", ("device.conf:7: ", "key=value")),
    (lines(mac=None), ("device.conf: ", "mac", "missing", "pagurus enroll device-config")),
    (lines(server=None), ("device.conf: ", "server", "missing")),
])
def test_a_wrong_configuration_is_named_by_file_line_key_and_remedy(bench, text, says):
    done = bench(text)
    assert done.returncode == 78 and all(word in done.stderr for word in says), done.stderr


def test_a_secret_in_a_wrong_line_is_not_shown(bench):
    done = bench(lines(claim="AAAA BBBB") + "trust_pin=12\n")
    assert "claim" in done.stderr and "AAAA" not in done.stderr
    done = bench(lines() + "AAAA-BBBB\n")
    assert ":7: " in done.stderr and "AAAA" not in done.stderr


def test_a_missing_configuration_names_the_file_and_how_it_comes_to_be(bench):
    (bench.folder / "device.conf").unlink(missing_ok=True)
    done = subprocess.run([LOADER, "--once", bench.folder], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 78 and "device.conf" in done.stderr and "pagurus enroll device-config" in done.stderr


def test_the_loader_does_not_loop_on_a_wrong_configuration_and_starts_when_it_is_mended(bench, tmp_path):
    (bench.folder / "device.conf").write_text(lines(port="0"))
    log = tmp_path / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen([LOADER, bench.folder], stdout=out, stderr=out)
    try:
        wait_for(lambda: log.read_text().count("mend it") >= 2)  # it tries again, but later each time
        pauses = [int(line.split("again in ")[1].split()[0]) for line in log.read_text().splitlines() if "again in" in line]
        assert pauses == sorted(set(pauses)) and pauses[0] >= 2, pauses
        assert "reset" not in log.read_text()
        wait_for(lambda: log.read_text().count("mend it") >= 3)
        (bench.folder / "device.conf").write_text(lines(server="127.0.0.1", port="1"))
        wait_for(lambda: "thermometer 1.0.0 in slot A" in log.read_text())
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_a_loader_that_waits_for_a_mended_configuration_is_stopped_at_once(bench, tmp_path):
    (bench.folder / "device.conf").write_text("")
    log = tmp_path / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen([LOADER, bench.folder], stdout=out, stderr=out)
    try:
        wait_for(lambda: log.read_text().count("mend it") >= 2)
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)


def test_the_page_on_the_posix_device_is_true_to_the_letter(cli, server_mqtt):  # noqa: F811
    page = (ROOT / "docs" / "porting" / "posix.md").read_text()
    commands = [line for block in page.split("```")[1::2] for line in block.strip().splitlines()]
    assert len(commands) >= 12
    cli("login", f"https://127.0.0.1:{server_mqtt.ports['console']}", "--ca", server_mqtt.data / "ca" / "root.pem",
        "--token-stdin", stdin=server_mqtt.token + "\n")
    (cli.home / "build").mkdir()
    (cli.home / "build" / "release").symlink_to(BUILD)
    env = {**cli.env, "PATH": f"{BUILD}:{os.environ['PATH']}"}
    device = None
    try:
        for command in commands:
            if command.startswith(("cmake ", "export ")):  # the tests' own build stands in for it
                continue
            if command == "pagurus-posix-loader ./meter":
                device = subprocess.Popen(command.split(), cwd=cli.home, env=env, stderr=open(cli.home / "log", "wb"))
                wait_for(lambda: "mqtt.up" in (cli.home / "log").read_text())
                continue
            command += " --no-passphrase" if "key generate" in command else ""
            done = subprocess.run(command, shell=True, cwd=cli.home, env=env, capture_output=True, text=True, timeout=120,
                                  check=False)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert cli.json("device", "show", "84f3eb000001")["running"]["version"] == "1.1.0"
    finally:
        if device is not None:
            device.terminate()
            device.wait(10)


def wait_for(check, wait_s=40):
    end = time.monotonic() + wait_s
    while not check():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
