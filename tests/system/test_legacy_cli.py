"""The command line for fleets of other servers: mounts, plain HTTP in words, several files of a release, error numbers."""

import pytest

import esp8266
import legacy
from test_cli import Cli

FULL = esp8266.arduino("plugs", "13.4.0", filler=60000, ident=False)
MIN = esp8266.arduino("small", "13.4.0", ident=False)


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "legacy.enabled=true", "limits.device_requests=0").start()


@pytest.fixture
def cli(server, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    one = Cli(home)
    one("login", f"https://localhost:{server.ports['console']}", "--name", "lab", "--token-stdin",
        "--ca", server.data / "ca" / "root.pem", stdin=server.token + "\n")
    return one


@pytest.fixture(scope="module", autouse=True)
def shelf(server):
    return legacy.Shelf(server, "plugs")


def test_a_path_is_mounted_listed_and_removed(cli):
    said = cli("product", "mount", "add", "plugs", "/esp/firmware.php", "--as", "tag-emonesp", "--option", "x=1").stderr
    assert "/esp/firmware.php" in said and "tag-emonesp" in said
    rows = cli.json("product", "mount", "list", "plugs")
    rows = rows["items"] if isinstance(rows, dict) else rows
    assert [(r["path"], r["kind"], r["options"]) for r in rows] == [("/esp/firmware.php", "tag-emonesp", {"x": 1})]
    cli("product", "mount", "rm", "plugs", "/esp/firmware.php")
    cli("product", "mount", "rm", "plugs", "/esp/firmware.php", want=3)


def test_a_mount_that_cannot_be_is_said_in_words(cli):
    assert "--as" in cli("product", "mount", "add", "plugs", "/x", want=2).stderr
    assert "answers already" in cli("product", "mount", "add", "plugs", "/v1", "--as", "files", want=2).stderr
    assert "tag-squix" in cli("product", "mount", "add", "plugs", "/x", "--as", "php", want=2).stderr
    assert "name=value" in cli("product", "mount", "add", "plugs", "/x", "--as", "files", "--option", "x", want=2).stderr


def test_plain_http_is_switched_on_by_who_has_read_what_it_means(cli, server):
    refused = cli("product", "set", "plugs", "plain_http=on", want=2).stderr
    assert "everybody on the way can read the firmware of plugs" in refused and "--yes" in refused
    assert server.rest("GET", "/products/plugs")["settings"]["plain_http"] is False
    assert "everybody on the way" in cli("product", "set", "plugs", "plain_http=true", "--yes").stderr
    assert server.rest("GET", "/products/plugs")["settings"]["plain_http"] is True
    assert "everybody" not in cli("product", "set", "plugs", "plain_http=on").stderr, "it is on already"
    assert "everybody" not in cli("product", "set", "plugs", "plain_http=off").stderr
    assert server.rest("GET", "/products/plugs")["settings"]["plain_http"] is False


def test_a_core_is_set_shown_and_taken_back(cli, server):
    cli("product", "set", "plugs", "core=2.7.4")
    assert "2.7.4" in cli("product", "show", "plugs").stdout
    cli("product", "set", "plugs", "core=null")
    assert server.rest("GET", "/products/plugs")["settings"]["core"] is None
    assert "2.7.4" in cli("product", "set", "plugs", "core=new", want=2).stderr


def test_the_files_of_a_build_go_into_one_release_with_their_names(cli, server, tmp_path):
    files = {"tasmota-DE.bin": FULL, "tasmota-DE.bin.gz": legacy.packed(FULL), "tasmota-minimal.bin.gz": legacy.packed(MIN)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    cli("release", "push", tmp_path / "tasmota-DE.bin", f"firmware-gz={tmp_path / 'tasmota-DE.bin.gz'}",
        f"minimal-gz={tmp_path / 'tasmota-minimal.bin.gz'}", "--version", "13.4.0", "--product", "plugs", "--core", "2.7.4",
        "--sign", "first", "--no-passphrase")
    for name, data in files.items():
        got = legacy.get(server, "/files/plugs/" + name)
        assert (got.status, got.body) == (200, data), name
    release = server.rest("GET", "/releases?product=plugs")["items"][0]
    images = {i["name"]: i for i in server.rest("GET", f"/releases/{release['id']}")["images"]}
    assert images["firmware"]["core"] == "2.7.4" and images["firmware-gz"]["gzip"] is True
    assert images["minimal-gz"]["file"] == "tasmota-minimal.bin.gz"


def test_why_a_device_gets_nothing_is_in_its_page(cli, server):
    shelf = legacy.Shelf(server, "tight")
    shelf.publish("1.0.0", firmware=FULL)
    device = esp8266.Updater(server, "tight", "5ccf7a333333", MIN, free_space=4096)
    assert device.raw()[0] == 304
    assert "4096 free" in cli("device", "show", device.mac).stdout


@pytest.mark.parametrize("words, has", [
    (("-101",), "no length"), (("-108",), "esp32: There is no partition"), (("-108", "--as", "esp8266"), "Unauthorized"),
    (("8", "--as", "esp32"), "first byte"), (("12",), "signature"), (("--json", "--", "-105"), '"number"'),
])
def test_numbers_are_explained(cli, words, has):
    assert has in cli("explain", *words).stdout


def test_numbers_that_nobody_reports_are_said_so(cli):
    cli("explain", "77", want=3)
    cli("explain", "abc", want=2)
