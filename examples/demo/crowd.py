"""Clients that exist already, as the simulator has them, beside the fleet of the demo: four products, one device of each
personality. They come by plain HTTP, by TLS with records as small as they need, by commands over MQTT with and without
passwords. Everything is set up by the pagurus command, as their owner would."""

import json

import esp32_image
import old_images
from installation import Failed, call, end, spawn

SLOT_BYTES = 262144
TASMOTAS = ("dc4f22000101", "dc4f22000102", "dc4f22000103")
ANONYMOUS = ("esphome", "web-tools")  # never say who they are or what they run


class Kind:
    """One product with the personalities that update from it."""

    def __init__(self, name, chip, hardware, people, seed):
        self.name, self.chip, self.hardware, self.people, self.seed = name, chip, hardware, people, seed


KINDS = (
    Kind("plug", "esp8266", "d1mini", ("esp8266-2.3", "esp8266-2.4", "esp8266-2.5", "esp8266-2.6", "esp8266-2.7", "esp8266-3.0",
                                       "esp8266-3.1", "emonesp", "squix@/esp/firmware.php", "esphome", "web-tools", "detached"), 2),
    Kind("cam", "esp32", "esp32cam", ("esp32-1.0", "esp32-2.0", "esp32-3.0", "esp-idf-4.4", "esp-idf-5.3", "esp-idf-5.5",
                                     "native_ota_example"), 3),
    Kind("measure", "esp8266", "d1mini", ("secureesp8266-f", "secureesp8266-i"), 4),
    Kind("tasmota", "esp8266", "d1mini", ("tasmota", "tasmota-1m", "tasmota-8.1"), 5),
)
DEVICES = sum(len(kind.people) for kind in KINDS)


class Crowd:
    def __init__(self, server, product_keys):
        self.server, self.work = server, server.work
        self.keys = product_keys  # words of the command line that unlock the demo's keys
        self.fleets = {}

    # -- set up ----------------------------------------------------------------------------------------------

    def product(self, kind):
        self.server.pagurus("product", "create", kind.name, "--chip", kind.chip, "--hardware", kind.hardware, "--slot", SLOT_BYTES - 4096,
                            "--set", "poll_s=10")
        if kind.name != "measure":
            # Says what it means; --yes is the answer. Both listeners are bound to this machine.
            self.server.pagurus("product", "set", kind.name, "legacy_auth=none", "plain_http=true", "--yes")
        self.server.pagurus("key", "trust", "create", "--product", kind.name, "--root", "demo-root", "--release", "demo-release", *self.keys)

    def rsa(self, name, bits, product):
        self.server.pagurus("key", "create", name, "--rsa", bits, "--register", "--product", product, *self.keys)
        pem = self.work / f"{name}.pub"
        pem.write_text(self.server.text("key", "public", name))

    def prepare(self):
        for kind in KINDS:
            self.product(kind)
        self.rsa("demo-sketch", 2048, "measure")
        self.rsa("demo-lab", 4096, "plug")
        self.server.pagurus("product", "mount", "add", "plug", "/esp/firmware.php", "--as", "tag-squix")
        self.server.pagurus("product", "dialect", "measure", "secureesp8266", "downloadserver=localhost", "mqttserver=localhost")
        self.server.pagurus("product", "dialect", "tasmota", "tasmota", f"otaurl={self.plain()}/files/tasmota/tasmota.bin")
        lines = []
        for mac in TASMOTAS:
            made = self.server.pagurus("broker", "user", "add", "tasmota", mac, "--device", mac)
            lines.append(f"{mac} {made['user']} {made['password']} {made['topic']}\n")
        users = self.work / "tasmota.users"
        users.touch(mode=0o600)
        users.write_text("".join(lines))

    def restarted(self):
        """The plain listeners have other ports than last time."""
        self.server.pagurus("product", "dialect", "tasmota", f"otaurl={self.plain()}/files/tasmota/tasmota.bin")

    def plain(self):
        return f"http://127.0.0.1:{self.server.ports['legacy']}"

    # -- images ----------------------------------------------------------------------------------------------

    def image(self, kind, version):
        path = self.work / f"{kind.name}-{version}.bin"
        if kind.chip == "esp32":
            path.write_bytes(esp32_image.image(kind.name, version))
            return path
        key = (self.work / "demo-sketch.pub").read_text() if kind.name == "measure" else ""
        path.write_bytes(old_images.image(kind.name, version, kind.hardware, 60000, key))
        return path

    def push(self, version):
        for kind in KINDS:
            more = {"measure": ["--arduino-key", "demo-sketch"], "plug": ["--detach", "demo-lab"]}.get(kind.name, [])
            files = [self.image(kind, version)]
            if kind.name == "tasmota":
                folder = self.work / version
                folder.mkdir(exist_ok=True)
                (folder / "tasmota.bin").write_bytes(files[0].read_bytes())
                (folder / "tasmota-minimal.bin").write_bytes(old_images.image("tasmota", version, kind.hardware, 8000))
                files = [f"firmware={folder / 'tasmota.bin'}", f"minimal={folder / 'tasmota-minimal.bin'}"]
            self.server.pagurus("release", "push", *files, "--product", kind.name, "--version", version, "--sign", "demo-release", *more,
                                *self.keys)

    # -- fleets ----------------------------------------------------------------------------------------------

    def start(self, *more):
        ports = self.server.ports
        for kind in KINDS:
            kept = self.work / f"{kind.name}.devices"
            words = [self.server.build / "pagurus-sim", "run", "--server", f"https://localhost:{ports['device']}", "--ca", self.server.root,
                     "--product", kind.name, "--hardware", kind.hardware, "--image", self.work / f"{kind.name}-1.0.0.bin", "--slot-bytes",
                     SLOT_BYTES, "--profile", "quick", "--poll", 3, "--fast", "--seed", kind.seed, "--plain-url", self.plain(),
                     "--mqtt-url", f"mqtt://localhost:{ports['mqtt_plain']}", "--devices-file", kept, "--report-file",
                     self.work / f"{kind.name}.json", *more]
            if kind.name == "tasmota":
                words += ["--mqtt-users", self.work / "tasmota.users"]
            if kind.name == "plug":
                words += ["--verify-key", self.work / "demo-lab.pub"]
            if not kept.exists():
                code = self.server.pagurus("enroll", "code", "create", "--product", kind.name, "--uses", len(kind.people), "--ttl", "1h")
                words += ["--claim-code", code["code"]]
                for one in kind.people:
                    words += ["--personality", one]
            self.fleets[kind.name] = spawn(words, self.work / f"{kind.name}.log")

    def ended(self):
        for name, fleet in self.fleets.items():
            if fleet.poll() not in (None, 0, 1):
                raise Failed(f"the fleet {name} ended with {fleet.returncode}:\n{(self.work / f'{name}.log').read_text()[-2000:]}")
        return all(fleet.poll() is not None for fleet in self.fleets.values())

    def known(self, kind):
        return {item["id"]: item for item in self.server.pages(f"/devices?product={kind.name}")}

    def settled(self, new):
        """What is wrong, and how many are confirmed by their flash and by the server's word."""
        wrong, confirmed = [], 0
        for kind in KINDS:
            known = self.known(kind)
            for one in json.loads((self.work / f"{kind.name}.json").read_text())["devices"]:
                at = known.get(one["id"], {})
                said = (at.get("running") or {}).get("version"), at.get("state")
                if one["personality"] in ANONYMOUS:
                    said = (new, "up_to_date")
                if one["as_expected"] and one["version_after"] == new and said == (new, "up_to_date"):
                    confirmed += 1
                else:
                    wrong.append(f"{one['id']} ({one['personality']}): {one['outcome']} with {one['version_after']}, REST says {said}: "
                                 f"{at.get('why')}; {one['error']} {one['error_text']}")
        return wrong, confirmed

    def stop(self):
        for fleet in self.fleets.values():
            end(fleet)
