"""pagurus enroll fs-image: what it writes is read back by others than it."""

import csv
import json
import random
import socket
import stat
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import esp8266
import flashfs
import secureesp
import signing
from conftest import BUILD, ROOT
from test_posix_device import FAST, Posix

MAC = "84f3ebfa0001"
SHAPES = {"4m1m": (0xFA000, 8192), "1m64": (0x10000, 4096), "2m64": (0xB000, 4096), "esp32-default": (0x160000, 4096)}


class Cli:
    def __init__(self, folder, server=None):
        self.folder, self.server = folder, server
        self.token = folder / "token"
        self.token.write_text(server.token if server else "none")
        self.token.chmod(0o600)

    def __call__(self, *words, want=0):
        more = ["--server", f"https://localhost:{self.server.ports['console']}", "--ca",
                str(self.server.data / "ca" / "root.pem"), "--token-file", str(self.token)] if self.server else []
        done = subprocess.run([str(BUILD / "pagurus"), *map(str, words), *more, "--no-input"], capture_output=True,
                              text=True, timeout=60, check=False, cwd=self.folder,
                              env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
        assert done.returncode == want, (words, done.returncode, done.stdout, done.stderr)
        return done

    def image(self, *words, want=0):
        """Bytes of the image, and what was said."""
        out = self.folder / "out.bin"
        out.unlink(missing_ok=True)
        done = self("enroll", "fs-image", *words, "-o", out, want=want)
        if want:
            assert not out.exists()
            return done.stderr
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        return out.read_bytes(), done.stderr


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path)


@pytest.fixture
def put(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()

    def write(files):
        for path, body in files.items():
            file = folder / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)
        return folder

    return write


FOLDERS = ("", "", "/a", "/b/c", "/a-b")


def some_files(seed, n, longest, folders=FOLDERS):
    rnd = random.Random(seed)
    sizes = [0, 1, 63, 64, 65, 250, 251, 252, 4000, 4096, 4097, 8191, 8192, 8193]
    files = {}
    for _ in range(n):
        name = f"{rnd.choice(folders)}/{rnd.choice('abcxyz')}{rnd.randrange(10 ** rnd.randrange(1, 9))}"
        files[name] = rnd.randbytes(min(longest, rnd.choice([*sizes, rnd.randrange(longest)])))
    return files


# ---- the three formats, with files of a folder --------------------------------------------------------------------

@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("n, longest", [(0, 1), (1, 30000), (12, 9000), (60, 64)])
def test_littlefs_is_mounted_and_read_by_the_genuine_library(cli, put, layout, n, longest):
    size, block = SHAPES[layout]
    # A file that is not inline takes a block at least, a folder two.
    n = min(n, size // block // 5 if longest > 64 else size // block * 2)
    files = some_files(n, n, min(longest, size // (3 * max(n, 1))), ("", "/a") if size // block < 16 else FOLDERS)
    image, _ = cli.image("--only-dir", "--dir", put(files), "--format", "littlefs", "--layout", layout)
    assert len(image) == size and image[8:16] == b"littlefs"
    unit, cache, name = (128, 512, 64) if layout.startswith("esp32") else (64, 64, 32)
    assert flashfs.read_littlefs(image, block, unit, cache, name) == files


def test_a_device_can_go_on_writing_to_its_littlefs(cli, put):
    files = some_files(7, 30, 6000)
    files |= {"/data": b"1", "/data.bin": b"2", "/data.bin.old": b"3" * 500}     # one name begins with the other
    image, _ = cli.image("--only-dir", "--dir", put(files), "--format", "littlefs", "--layout", "4m1m")
    fs = flashfs.mount(image)
    for path in [*list(files)[::3], "/new", "/b/c/new", "/data.bin.o"]:
        files[path] = b"changed " * 200
        with fs.open(path, "wb") as file:
            file.write(files[path])
    fs.remove("/data.bin")
    del files["/data.bin"]
    fs.unmount()
    fs.mount()
    assert flashfs.files_of(fs) == files


def test_a_folder_of_more_names_than_a_block_holds_is_read_whole(cli, put):
    files = {f"/name-{i:03}": bytes([i]) * 60 for i in range(200)}
    image, _ = cli.image("--only-dir", "--dir", put(files), "--format", "littlefs", "--layout", "4m1m")
    assert flashfs.read_littlefs(image) == files


def test_littlefs_on_disk_is_version_2_0_with_limits_that_the_core_takes(cli, put):
    for layout, names in (("4m1m", 32), ("esp32-default", 64)):
        image, _ = cli.image("--only-dir", "--dir", put({"/a": b"b"}), "--format", "littlefs", "--layout", layout)
        size, block = SHAPES[layout]
        words = [int.from_bytes(image[20 + 4 * i:24 + 4 * i], "little") for i in range(6)]
        assert words == [0x00020000, block, size // block, names, 0x7FFFFFFF, 1022]


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("n, longest", [(0, 1), (1, 60000), (12, 9000), (60, 70)])
def test_spiffs_is_read_from_its_description(cli, put, layout, n, longest):
    size, block = SHAPES[layout]
    files = some_files(n, n, min(longest, size // (2 * max(n, 1)) if n < 50 else longest))
    image, _ = cli.image("--only-dir", "--dir", put(files), "--format", "spiffs", "--layout", layout)
    assert len(image) == size
    assert flashfs.read_spiffs(image, block, esp32=layout.startswith("esp32")) == files


@pytest.mark.parametrize("sizes", [[], [0], [1, 31, 32, 33, 64], [3999], [4000], [4001, 5, 9000], [700] * 9])
def test_nvs_is_read_from_its_description_and_is_what_esp_idf_makes(cli, put, tmp_path, sizes):
    rnd = random.Random(len(sizes))
    files = {f"{'' if i % 3 else '/wifi'}/key{i:02}": rnd.randbytes(n) for i, n in enumerate(sizes)}
    folder = put(files)
    image, _ = cli.image("--only-dir", "--dir", folder, "--format", "nvs", "--size", "0x8000", "--chip", "esp32")
    rows = [(path[1:].split("/") if path.count("/") == 2 else ["pagurus", path[1:]]) + [path] for path in files]
    assert flashfs.read_nvs(image) == {(space, key): files[path] for space, key, path in rows}
    table, space = [["key", "type", "encoding", "value"]], None
    for own, key, path in sorted(rows, key=lambda r: (r[0] != "pagurus", r)):
        if own != space:
            table.append([own, "namespace", "", ""])
            space = own
        table.append([key, "file", "binary", str(folder / path[1:])])
    with open(tmp_path / "nvs.csv", "w", newline="") as file:
        csv.writer(file).writerows(table)
    done = subprocess.run([sys.executable, "-m", "esp_idf_nvs_partition_gen", "generate", tmp_path / "nvs.csv",
                           tmp_path / "genuine.bin", "0x8000"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert image == (tmp_path / "genuine.bin").read_bytes()


@pytest.mark.parametrize("fmt", ["littlefs", "spiffs", "nvs"])
def test_the_same_files_give_the_same_bytes_whatever_their_order_and_age(cli, tmp_path, fmt):
    images = set()
    for turn in range(3):
        files = list(some_files(5, 8, 900, ("", "/a")).items())
        random.Random(turn).shuffle(files)
        folder = tmp_path / f"d{turn}"
        for path, body in files:
            (folder / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (folder / path[1:]).write_bytes(body)
        images.add(cli.image("--only-dir", "--dir", folder, "--format", fmt, "--size", "64k", "--chip", "esp32")[0])
    assert len(images) == 1


def test_the_offset_to_flash_to_is_said(cli, put):
    _, said = cli.image("--only-dir", "--dir", put({"/a": b"b"}), "--format", "littlefs", "--layout", "4m2m")
    assert "esptool --chip esp8266 write-flash 0x200000 " in said
    done = json.loads(cli("enroll", "fs-image", "--only-dir", "--dir", put({}), "--format", "spiffs", "--layout",
                          "1m64", "-o", "x.bin", "--json").stdout)
    assert done["offset"] == 0xEB000 and done["files"] == [{"path": "/a", "bytes": 1}] and done["secret"] is False


# ---- what cannot be ------------------------------------------------------------------------------------------------

def test_what_does_not_fit_says_how_much_is_missing_and_the_largest_file(cli, put):
    folder = put({"/small": b"s" * 100, "/big.html": b"b" * 50000})
    for fmt, more in (("littlefs", []), ("spiffs", []), ("nvs", ["--chip", "esp32"])):
        said = cli.image("--only-dir", "--dir", folder, "--format", fmt, "--size", "40k", "--chip", "esp8266", *more,
                         want=2)
        missing = int(said.split(" bytes are missing")[0].split()[-1])
        assert missing % 4096 == 0 and "/big.html" in said
        # exactly so much is missing, and not a block more
        size = str(40960 + missing)
        cli.image("--only-dir", "--dir", folder, "--format", fmt, "--size", size, "--chip", "esp8266", *more)
        cli.image("--only-dir", "--dir", folder, "--format", fmt, "--size", str(int(size) - 4096), "--chip", "esp8266",
                  *more, want=2)


@pytest.mark.parametrize("words, sentence", [
    (["--format", "littlefs", "--size", "20001"], "not a multiple of the block"),
    (["--format", "littlefs", "--size", "8k"], "four blocks"),
    (["--format", "littlefs", "--size", "64k", "--block", "5000"], "power of two"),
    (["--format", "spiffs", "--size", "64k", "--page", "64"], "page of SPIFFS"),
    (["--format", "littlefs", "--size", "64x"], "no number of bytes"),
    (["--format", "fat", "--size", "64k"], "no format"),
    (["--size", "64k"], "--format is missing"),
    (["--format", "spiffs"], "--layout or --size"),
    (["--format", "spiffs", "--layout", "4m9m"], "4m1m"),
    (["--format", "spiffs", "--layout", "4m1m", "--size", "64k"], "twice"),
    (["--format", "nvs", "--size", "64k"], "ESP8266"),
    (["--format", "spiffs", "--layout", "esp32-nvs"], "does not go with"),
    (["--format", "spiffs", "--layout", "esp32-default"], "not one of the esp8266"),
])
def test_a_shape_that_cannot_be_is_refused_in_words(cli, put, words, sentence):
    assert sentence in cli.image("--only-dir", "--dir", put({"/a": b"b"}), "--chip", "esp8266", *words, want=2)


@pytest.mark.parametrize("fmt, chip, path, sentence", [
    ("littlefs", "esp8266", "/" + "n" * 32, "at most 31 bytes"),
    ("littlefs", "esp32", "/" + "n" * 64, "at most 63 bytes"),
    ("spiffs", "esp32", "/folder/" + "n" * 24, "at most 31 bytes"),
    ("nvs", "esp32", "/sixteen-bytes-xx", "at most 15 bytes"),
    ("nvs", "esp32", "/a/b/c", "one level"),
    ("nvs", "esp32", "/pagurus/x", "namespace"),
])
def test_a_name_that_the_format_cannot_hold_is_refused(cli, put, fmt, chip, path, sentence):
    said = cli.image("--only-dir", "--dir", put({path: b"x", "/ok": b""}), "--chip", chip, "--format", fmt, "--size",
                     "64k", want=2)
    assert sentence in said and path in said


def test_links_and_things_that_are_no_files_are_refused(cli, put):
    folder = put({"/a": b"b"})
    (folder / "link").symlink_to("/etc/passwd")
    said = cli.image("--only-dir", "--dir", folder, "--format", "spiffs", "--layout", "1m64", want=2)
    assert "link" in said and "neither a file nor a folder" in said


def test_an_own_private_key_is_warned_of(cli, put):
    folder = put({"/my.txt": b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"})
    _, said = cli.image("--only-dir", "--dir", folder, "--format", "spiffs", "--layout", "1m64")
    assert "private key in the clear" in said


# ---- what a server's devices boot with -----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def server(make_server):
    one = make_server("limits.device_requests=1000", "limits.device_requests_burst=5000").start()
    one.wait_ready()
    return one


@pytest.fixture(scope="module")
def owner(server):
    one = signing.Publisher(server, "measure", "esp8266", ("d1mini",))
    server.rest("PATCH", "/products/measure/dialect", {"dialect": "secureesp8266", "settings": {
        "downloadserver": "localhost", "mqttserver": "localhost", "statusinterval": 7000}})
    one.image = esp8266.arduino("measure", "00.00.08.h", filler=60000)
    one.publish("00.00.08.h", one.image)
    return one


@pytest.fixture
def pagurus(server, owner, tmp_path):
    return Cli(tmp_path, server)


def boot(server, files, mac, image=None):
    """The sketch as it starts with what is in its SPIFFS; its DER files as PEM, which is all Python's ssl takes."""
    cert = x509.load_der_x509_certificate(files[f"/{mac}.crt.der"])
    key = serialization.load_der_private_key(files[f"/{mac}.key.der"], None)
    ca = x509.load_der_x509_certificate(files["/ca.der"])
    pem = serialization.Encoding.PEM
    one = secureesp.Sketch(mac, server.folder, ca.public_bytes(pem), json.loads(files["/config.json"]),
                           images={image: "00.00.08.h"} if image else {})
    one.identity(cert.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8,
                                                           serialization.NoEncryption()))
    return one


@pytest.mark.parametrize("fmt, mac", [("spiffs", "84f3ebfa0001"), ("littlefs", "84f3ebfa0002")])
def test_a_sketch_boots_with_its_image_and_updates(server, owner, pagurus, put, fmt, mac):
    image, said = pagurus.image("--product", "measure", "--mac", mac, "--format", fmt, "--layout", "4m1m", "--dir",
                                put({"/index.html": b"<p>hello"}))
    files = flashfs.read_spiffs(image) if fmt == "spiffs" else flashfs.read_littlefs(image)
    assert set(files) == {"/config.json", "/ca.der", "/ca.crt", f"/{mac}.crt.der", f"/{mac}.key.der", "/index.html"}
    assert f"{mac}.key.der" in said and "private key in the clear" in said
    config = json.loads(files["/config.json"])
    assert config["statusinterval"] == 7000 and config["downloadport"] == server.ports["device"]
    assert len(files["/config.json"]) < 700
    one = boot(server, files, mac, owner.image).start()
    try:
        server.until(lambda: server.rest("GET", f"/devices/{mac}")["online"], 30)
        server.until(lambda: one.version == "00.00.08.h", 60)
    finally:
        one.stop()


def test_a_device_in_service_gets_a_new_identity_by_its_name(server, owner, pagurus):
    mac = "84f3ebfa0003"
    first = flashfs.read_spiffs(pagurus.image("--product", "measure", "--mac", mac, "--format", "spiffs", "--layout",
                                              "1m64")[0], 4096)
    again = flashfs.read_spiffs(pagurus.image("--device", mac, "--format", "spiffs", "--layout", "1m64")[0], 4096)
    assert first[f"/{mac}.key.der"] != again[f"/{mac}.key.der"]
    assert boot(server, again, mac).get("/config.json")[0] == 200


def test_several_devices_get_a_file_each(server, owner, pagurus, tmp_path):
    macs = ["84f3ebfa0010", "84f3ebfa0011"]
    said = pagurus("enroll", "fs-image", "--product", "measure", "--mac", macs[0], "--mac", macs[1], "--format",
                   "spiffs", "--layout", "1m64", "-o", "one.bin", want=2).stderr
    assert "%" in said
    done = pagurus("enroll", "fs-image", "--product", "measure", "--mac", macs[0], "--mac", macs[1], "--format",
                   "spiffs", "--layout", "1m64", "-o", "data-%.bin", "--json")
    assert [made["file"] for made in json.loads(done.stdout)] == [f"data-{mac}.bin" for mac in macs]
    for mac in macs:
        assert f"/{mac}.key.der" in flashfs.read_spiffs((tmp_path / f"data-{mac}.bin").read_bytes(), 4096)


def test_certificate_and_key_at_hand_are_used_and_those_of_another_device_refused(server, owner, pagurus, tmp_path):
    mac, other = "84f3ebfa0020", "84f3ebfa0021"
    for each in (mac, other):
        files = flashfs.read_spiffs(pagurus.image("--product", "measure", "--mac", each, "--format", "spiffs",
                                                  "--layout", "1m64")[0], 4096)
        (tmp_path / f"{each}.crt").write_bytes(files[f"/{each}.crt.der"])
        (tmp_path / f"{each}.key").write_bytes(files[f"/{each}.key.der"])

    def call(cert, key, want=0):
        return pagurus.image("--product", "measure", "--mac", mac, "--cert", f"{cert}.crt", "--key", f"{key}.key",
                             "--format", "littlefs", "--layout", "4m1m", want=want)

    files = flashfs.read_littlefs(call(mac, mac)[0])
    assert files[f"/{mac}.key.der"] == (tmp_path / f"{mac}.key").read_bytes()
    assert "do not belong together" in call(mac, other, 2)
    assert f'that of "{other}"' in call(other, other, 2)
    (tmp_path / f"{mac}.key").write_bytes(b"nothing")
    assert "the private key is none" in call(mac, mac, 2)


def test_no_code_is_spent_on_an_image_that_does_not_fit(server, owner, pagurus, put):
    before = len(server.rest("GET", "/enrollment/codes")["items"])
    said = pagurus.image("--product", "measure", "--mac", "84f3ebfa0030", "--format", "spiffs", "--layout", "1m64",
                         "--dir", put({"/big": b"b" * 60000}), want=2)
    assert "bytes are missing" in said
    said = pagurus.image("--product", "measure", "--mac", "84f3ebfa0030", "--format", "spiffs", "--layout", "1m64",
                         "--dir", put({"/big": b"", "/config.json": b"{}"}), want=2)
    assert "there are two files of that name" in said and "/config.json" in said
    assert len(server.rest("GET", "/enrollment/codes")["items"]) == before
    assert server.call("GET", "/devices/84f3ebfa0030").status == 404


def test_what_a_sketch_cannot_use_is_refused_in_words(server, owner, pagurus):
    assert "say which" in pagurus.image("--product", "measure", "--format", "spiffs", "--layout", "1m64", want=2)
    said = pagurus.image("--product", "measure", "--mac", MAC, "--chip", "esp32", "--format", "nvs", "--size", "32k",
                         want=2)
    assert "NVS has not" in said
    said = pagurus.image("--product", "measure", "--mac", MAC, "--format", "spiffs", "--layout", "1m64", "--code",
                         "0" * 27, want=3)
    assert "84f3ebfa0001.key" in said


def test_the_address_for_devices_must_be_theirs_by_certificate(server, owner, pagurus):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        said = pagurus.image("--product", "measure", "--mac", "84f3ebfa0040", "--format", "spiffs", "--layout", "1m64",
                             "--device-server", f"localhost:{listener.getsockname()[1]}", want=6)
    assert "did not answer as the devices' server" in said


def test_a_native_device_enrols_with_the_text_of_its_image(server, pagurus, tmp_path):
    mac = "84f3ebfa0050"
    signing.Publisher(server, "meter", "posix", ("posix",))
    words = ["--product", "meter", "--mac", mac, "--chip", "esp32", "--device-server",
             f"localhost:{server.ports['device']}"]
    nvs, said = pagurus.image(*words, "--format", "nvs", "--layout", "esp32-nvs")
    assert set(flashfs.read_nvs(nvs)) == {("pagurus", "device.conf")} and "holds a claim" in said
    image, _ = pagurus.image(*words, "--format", "littlefs", "--layout", "esp32-default")
    text = flashfs.read_littlefs(image, 4096, 128, 512, 64)["/device.conf"].decode()
    assert "claim=" in text and f"mac={mac}" in text and "BEGIN CERTIFICATE" in text
    one = Posix(tmp_path, {}, "")
    (one.dir / "device.conf").write_text(text + "".join(f"{k}={v}\n" for k, v in FAST.items()))
    one.start()
    try:
        server.until(lambda: server.call("GET", f"/devices/{mac}").status == 200, 40)
    finally:
        one.stop()


def test_every_layout_has_the_numbers_that_the_page_says():
    text = (ROOT / "docs" / "spec" / "fs-image.md").read_text()
    table = (ROOT / "cli" / "fs_volume.c").read_text()
    rows = [line.strip(" {},").split(", ") for line in table.splitlines() if line.startswith('    { "')]
    assert len(rows) > 20
    for name, offset, size, block, *_ in rows:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name.strip(chr(34))}` "))
        assert [int(cell.strip(" `"), 0) for cell in row.split("|")[2:5]] == [int(offset, 0), int(size, 0), int(block)]
