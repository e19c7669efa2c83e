"""The ESP8266 example builds into an image that the maker's own tool, our reader and the facts agree on."""

import pathlib
import re
import shutil
import struct
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import esp8266_image  # noqa: E402  (after the path)

pytestmark = pytest.mark.skipif(not shutil.which("xtensa-lx106-elf-gcc"), reason="gcc-xtensa-lx106 is not installed")
# Its own words for a segment in the flash window, which every Arduino sketch has; anything else is a complaint.
WINDOW_NOTE = re.compile(r"WARNING: Suspicious segment 0x40201010, length \d+\s*")


def build(out, version):
    subprocess.run(["make", "-s", "-C", ROOT / "examples/esp8266", f"VERSION={version}", f"OUT={out}"], check=True,
                   timeout=60, stdout=subprocess.DEVNULL)
    return out / f"meter-{version}.bin"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return build(tmp_path_factory.mktemp("image"), "1.0.0")


def esptool(path):
    done = subprocess.run([sys.executable, "-m", "esptool", "--chip", "esp8266", "image-info", path], check=False,
                          timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_esptool_reads_the_loader_without_a_complaint(image):
    out, err = esptool(image)
    assert "(valid)" in out and "WARNING" not in out and err == ""


def test_esptool_reads_the_application_without_a_complaint(image, tmp_path):
    app = tmp_path / "app.bin"
    app.write_bytes(image.read_bytes()[0x1000:])
    out, err = esptool(app)
    assert "(valid)" in out
    assert WINDOW_NOTE.sub("", err + "".join(line for line in out.splitlines() if "WARNING" in line)) == ""
    assert re.search(r"0x40201010.*IROM", out) and re.search(r"0x3ffe8000.*DRAM", out)


def test_esptool_complains_about_a_flipped_bit(image, tmp_path):
    bad = bytearray(image.read_bytes())
    bad[0x20] ^= 1
    (tmp_path / "bad.bin").write_bytes(bad)
    assert "invalid" in esptool(tmp_path / "bad.bin")[0]


def test_layout_is_that_of_the_arduino_core(image):
    data = image.read_bytes()
    assert len(data) % 16 == 0 and data[0] == data[0x1000] == 0xE9 and data[1] == 1
    assert set(data[0x200:0x1000]) == {0xAA}
    assert struct.unpack_from("<II", data, 0x1008)[0] == 0x40201010


def test_length_and_crc_are_those_of_the_whole_file(image):
    data = bytearray(image.read_bytes())
    length, crc = struct.unpack_from("<II", data, 0x1010)
    data[0x1010:0x1018] = bytes(8)
    value = 0xFFFFFFFF
    for byte in data:  # bit by bit, unlike the writer
        for bit in range(7, -1, -1):
            carry = value >> 31 ^ byte >> bit & 1
            value = (value << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if carry else 0)
    assert (length, crc) == (len(data), value)


def test_identity_is_there_once_and_says_version_and_board(image):
    data = image.read_bytes()
    magic = b"\x7fPAGURUS-ID\x01\r\n\x1a"
    assert data.count(magic) == 1
    _, product, version, hardware = struct.unpack_from("<16s32s32s16s", data, data.index(magic))
    assert [text.rstrip(b"\0") for text in (product, version, hardware)] == [b"meter", b"1.0.0", b"d1mini"]


def test_same_source_gives_the_same_bytes_and_another_version_others(image, tmp_path):
    assert build(tmp_path, "1.0.0").read_bytes() == image.read_bytes()
    assert build(tmp_path, "2.0.0").read_bytes() != image.read_bytes()


def test_a_download_takes_several_sectors(image):
    assert 150_000 < image.stat().st_size < 1_000_000


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x02\x01" + bytes(60), b"\x7fELF\x01\x01" + bytes(60)])
def test_writer_refuses_what_is_not_an_xtensa_elf(content, tmp_path):
    (tmp_path / "x.elf").write_bytes(content)
    with pytest.raises(esp8266_image.Refused):
        esp8266_image.elf_segments(tmp_path / "x.elf")
