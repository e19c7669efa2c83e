"""The command line: answers, refusals, exit codes and what it signs. Against a stand-in for the server, so that each
failure can be made to happen; the last tests run against the real pagurusd."""

import hashlib
import json
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import time

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

import cborish
from fake_rest import TOKEN, Fake

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PAG_BUILD", ROOT / "build" / "dev")).resolve()
PAGURUS = BUILD / "pagurus"
MAN = ROOT / "docs" / "man"


class Cli:
    """pagurus with a home of its own."""

    def __init__(self, home):
        self.home = home
        self.cwd = home
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(home / "cfg"), "LC_ALL": "C",
                    "TZ": "UTC", "TERM": "xterm"}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        self.passphrase = home / "pass.txt"
        self.passphrase.write_text("correct horse battery\n")
        self.passphrase.chmod(0o600)

    def __call__(self, *words, want=0, stdin=None, env=None, **more):
        done = subprocess.run([str(PAGURUS), *map(str, words)], capture_output=True, text=True, timeout=60, check=False,
                              input=stdin, env={**self.env, **(env or {})}, cwd=self.cwd,
                              stdin=subprocess.DEVNULL if stdin is None else None, **more)
        assert done.returncode == want, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words, **more):
        return json.loads(self(*words, "--json", **more).stdout)

    def terminal(self, *words, answers=(), want=0, env=None):
        """Runs on a pseudo terminal; answers: (text to wait for, what to type). Returns all that was shown."""
        pid, fd = pty.fork()
        if pid == 0:
            os.chdir(self.cwd)
            os.execve(PAGURUS, [str(PAGURUS), *map(str, words)], {**self.env, **(env or {})})
        shown, todo, end = "", list(answers), time.monotonic() + 30
        from_here = 0
        while time.monotonic() < end:
            if not select.select([fd], [], [], 0.2)[0]:
                continue
            try:
                data = os.read(fd, 4096)
            except OSError:
                break
            if not data:
                break
            shown += data.decode(errors="replace")
            if todo and todo[0][0] in shown[from_here:]:
                from_here = len(shown)
                os.write(fd, todo.pop(0)[1].encode() + b"\n")
        os.close(fd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == want, f"exit {status}\n{shown}"
        assert not todo, f"never asked for {todo[0][0]!r}:\n{shown}"
        return shown


@pytest.fixture
def cli(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return Cli(home)


@pytest.fixture
def fake(tmp_path):
    f = Fake(tmp_path)
    yield f
    f.close()


@pytest.fixture
def signed_in(cli, fake):
    cli("login", fake.url, "--name", "lab", "--token-stdin", "--trust-fingerprint", fake.root_sha256, stdin=TOKEN + "\n")
    fake.calls.clear()
    return cli


def device(did, **more):
    return {"id": did, "name": more.pop("name", did), "product": "meter", "state": "up_to_date", "online": True,
            "running": {"version": "1.0.0"}, "wanted": None, "tags": [], "last_seen": "2026-03-01T11:04:10.000Z", **more}


# ---- words, help, completion ----

def test_an_unknown_command_or_flag_names_the_nearest_one(cli):
    assert "pagurus device" in cli("devcie", want=2).stderr
    assert "pagurus device list" in cli("device", "lits", want=2).stderr
    assert "--product" in cli("device", "list", "--prodct", "x", want=2).stderr


def test_every_help_starts_with_examples_and_every_command_has_two(cli):
    table = json.loads(cli("__table").stdout)
    assert len(table["commands"]) > 50
    for command in table["commands"]:
        assert len(command["examples"].splitlines()) >= 2, command["path"]
        if command["path"] == "sim":
            continue
        text = cli(*command["path"].split(), "--help").stdout
        assert text.startswith("Examples:\n  $ "), command["path"]
    assert cli("--help").stdout.startswith("Examples:")
    assert cli("help", "device", "list").stdout == cli("device", "list", "--help").stdout


def test_missing_and_surplus_arguments_are_usage_errors(cli):
    assert "usage: pagurus device show ID" in cli("device", "show", want=2).stderr
    cli("device", "show", "a", "b", want=2)
    cli("device", "list", "--limit", want=2)
    cli("device", "list", "--limit", "many", "--server", "https://127.0.0.1:1", want=2)


def test_completion_offers_commands_flags_contexts_and_devices(signed_in, fake):
    fake.devices = {"pump-1": device("pump-1"), "pump-2": device("pump-2")}
    assert {"device", "release", "login"} <= set(signed_in("__complete", "").stdout.split())
    assert "list" in signed_in("__complete", "device", "l").stdout.split()
    assert "--product" in signed_in("__complete", "release", "push", "--pro").stdout.split()
    assert signed_in("__complete", "context", "use", "").stdout.split() == ["lab"]
    assert signed_in("__complete", "device", "show", "pu").stdout.split() == ["pump-1", "pump-2"]
    for shell in ("bash", "zsh", "fish"):
        assert "pagurus __complete" in signed_in("completion", shell).stdout
    script = signed_in("completion", "bash").stdout
    done = subprocess.run(["bash", "-c", script + '\nCOMP_WORDS=(pagurus devi); COMP_CWORD=1; _pagurus; echo "${COMPREPLY[@]}"'],
                          capture_output=True, text=True, check=True,
                          env={**signed_in.env, "PATH": f"{BUILD}:{os.environ['PATH']}"})
    assert done.stdout.split() == ["device"]


def test_completion_of_a_dead_server_is_quick_and_silent(cli):
    began = time.monotonic()
    done = cli("__complete", "device", "show", "x", env={"PAGURUS_SERVER": "https://10.255.255.1:9", "PAGURUS_TOKEN": "t"})
    assert done.stdout == "" and time.monotonic() - began < 2


# ---- signing in ----

def test_login_refuses_a_server_it_cannot_check_and_shows_the_fingerprint(cli, fake):
    done = cli("login", fake.url, "--token-stdin", stdin=TOKEN + "\n", want=6)
    assert fake.root_sha256 in done.stderr and "--trust-fingerprint" in done.stderr
    assert not any("Authorization" in headers for _, _, headers, _ in fake.calls), "the token went to an unchecked server"
    cli("login", fake.url, "--token-stdin", "--yes", stdin=TOKEN + "\n", want=6)


def test_login_refuses_another_fingerprint(cli, fake):
    cli("login", fake.url, "--token-stdin", "--trust-fingerprint", "00" * 32, stdin=TOKEN + "\n", want=6)
    assert not any("Authorization" in headers for _, _, headers, _ in fake.calls)


def test_login_pins_the_root_and_keeps_the_token_private(signed_in, fake):
    base = signed_in.home / "cfg" / "pagurus"
    assert (base / "tokens" / "lab").stat().st_mode & 0o777 == 0o600
    assert (base / "tokens" / "lab").read_text().strip() == TOKEN
    assert TOKEN not in (base / "config.ini").read_text()
    assert signed_in.json("whoami")["role"] == "admin"
    assert signed_in.json("context", "list")["items"][0]["server"] == fake.url


def test_login_on_a_terminal_asks_and_does_not_echo_the_token(cli, fake):
    shown = cli.terminal("login", fake.url, answers=[("same fingerprint?", "y"), ("Token", TOKEN)])
    assert fake.root_sha256 in shown and TOKEN not in shown and "signed in" in shown


def test_a_token_file_that_others_can_read_is_refused(signed_in):
    (signed_in.home / "cfg" / "pagurus" / "tokens" / "lab").chmod(0o644)
    assert "chmod 600" in signed_in("whoami", want=2).stderr


def test_a_wrong_token_is_exit_4_with_what_to_do(signed_in):
    done = signed_in("whoami", env={"PAGURUS_TOKEN": "pgt_wrong"}, want=4)
    assert "the token is not known" in done.stderr and "fix:" in done.stderr
    assert "pgt_wrong" not in signed_in("-vv", "whoami", env={"PAGURUS_TOKEN": "pgt_wrong"}, want=4).stderr


def test_the_token_of_a_context_never_goes_to_another_server(signed_in, fake, tmp_path):
    (tmp_path / "other").mkdir()
    other = Fake(tmp_path / "other")
    try:
        signed_in("whoami", "--server", other.url, "--ca", other.root_file, want=4)
        assert not other.calls
    finally:
        other.close()


def test_a_project_file_may_choose_a_context_but_not_a_server(signed_in):
    project = signed_in.home / "project"
    project.mkdir()
    signed_in.cwd = project
    (project / ".pagurus.ini").write_text("context = lab\nproduct = meter\n")
    signed_in("whoami")
    (project / ".pagurus.ini").write_text("[context lab]\nserver = https://evil.example\n")
    assert ".pagurus.ini" in signed_in("whoami", want=2).stderr


def test_plain_http_is_refused_except_to_this_machine(cli):
    cli("login", "http://ota.example.net", "--token-stdin", stdin="x\n", want=2)


def test_logout_forgets_the_token(signed_in):
    signed_in("logout")
    assert not (signed_in.home / "cfg" / "pagurus" / "tokens" / "lab").exists()
    signed_in("whoami", want=4)


# ---- output ----

def test_lists_follow_cursors_and_speak_json_jsonl_and_tabs(signed_in, fake):
    fake.devices = {f"pump-{n}": device(f"pump-{n}") for n in range(250)}
    assert len(signed_in.json("device", "list")["items"]) == 100
    assert signed_in.json("device", "list")["next_cursor"] == "100"
    assert len(signed_in("device", "list", "--limit", "120", "--jsonl").stdout.splitlines()) == 120
    lines = signed_in("device", "list", "--all").stdout.splitlines()
    assert len(lines) == 251 and lines[0].split("\t")[0] == "ID" and "\x1b" not in "".join(lines)
    one = signed_in("device", "list", "--limit", "1", "--no-header", "--columns", "ID,running.version").stdout
    assert one == "pump-0\t1.0.0\n"
    assert signed_in("device", "list", "--find", "nothing").stdout.count("\n") == 1


def test_colour_only_where_it_is_wanted(signed_in, fake):
    fake.devices = {"pump-1": device("pump-1")}
    assert "\x1b[" in signed_in.terminal("device", "list")
    assert "\x1b[3" not in signed_in.terminal("device", "list", env={"NO_COLOR": "1"})
    assert "\x1b[3" not in signed_in.terminal("device", "list", "--color", "never")
    assert "\x1b[3" not in signed_in.terminal("device", "list", env={"TERM": "dumb"})
    assert "\x1b[31merror" in signed_in("device", "show", "x", "--color=always", want=3).stderr
    assert "\x1b[31merror" in signed_in("device", "show", "x", env={"CLICOLOR_FORCE": "1"}, want=3).stderr


def test_a_hostile_name_cannot_drive_the_terminal(signed_in, fake):
    fake.devices = {"pump-1": device("pump-1", name="\x1b]0;pwned\x07\x9b31m", why="a\nb\r\x1b[2J")}
    for shown in (signed_in("device", "list").stdout, signed_in("device", "show", "pump-1").stdout):
        assert "\x1b" not in shown and "\x9b" not in shown and "\\x1b" in shown


def test_names_prefixes_and_near_misses_find_devices(signed_in, fake):
    fake.devices = {"pump-0107": device("pump-0107", name="cellar"), "pump-0999": device("pump-0999")}
    assert signed_in.json("device", "show", "cellar")["id"] == "pump-0107"
    assert signed_in.json("device", "show", "pump-01")["id"] == "pump-0107"
    assert "pump-0107, pump-0999" in signed_in("device", "show", "pump-", want=2).stderr
    done = signed_in("device", "show", "pump-9999", want=3)
    assert 'no device "pump-9999" in context lab' in done.stderr and "did you mean pump-0999?" in done.stderr
    done = signed_in("device", "show", "pump-9999", "--json", want=3)
    assert json.loads(done.stderr)["code"] == "not-found" and done.stdout == ""


def test_device_verbs_send_what_rest_md_says(signed_in, fake):
    fake.devices = {"pump-1": device("pump-1", tags=["a", "b"])}
    def last():
        method, path, headers, body = fake.calls[-1]
        return method, path, json.loads(body or b"null")
    signed_in("device", "reboot", "pump-1", "--ttl", "10m")
    assert last() == ("POST", "/api/v1/devices/pump-1/commands", {"kind": "reboot", "ttl_s": 600})
    signed_in("device", "command", "pump-1", "config", "interval=60")
    assert last()[2] == {"kind": "config", "arg": "interval=60", "ttl_s": 3600}
    assert "did you mean reboot" in signed_in("device", "command", "pump-1", "rebot", want=2).stderr
    signed_in("device", "tag", "pump-1", "+c", "-a")
    assert last() == ("PATCH", "/api/v1/devices/pump-1", {"tags": ["b", "c"]})
    signed_in("device", "pin", "pump-1", "1.0")
    assert last()[2] == {"pin": "1.0"}
    signed_in("device", "unpin", "pump-1")
    assert last()[2] == {"pin": None}
    signed_in("device", "rename", "pump-1", "new name")
    assert last()[2] == {"name": "new name"}


def test_destroying_needs_the_name_and_not_only_yes(signed_in, fake):
    fake.devices = {"pump-1": device("pump-1")}
    assert "--confirm pump-1" in signed_in("device", "revoke", "pump-1", "--yes", want=2).stderr
    signed_in("device", "revoke", "pump-1", "--yes", "--confirm", "pump-2", want=2)
    assert fake.devices["pump-1"]["state"] == "up_to_date"
    signed_in.terminal("device", "revoke", "pump-1", answers=[('Type "pump-1"', "pump-1")])
    assert fake.devices["pump-1"]["state"] == "revoked"


def test_watch_ends_with_the_update_and_8_when_it_went_wrong(signed_in, fake):
    script = [{}, {"state": "updating", "action": {"state": "downloading", "progress": 40}}, {"state": "on_trial"}]
    fake.devices = {"good": device("good", state="update_offered", script=script + [{"state": "up_to_date", "action": None}]),
                    "bad": device("bad", state="updating", script=script + [{"state": "reverted", "why": "crashed"}])}
    shown = signed_in("device", "watch", "good", "--interval", "0s").stdout
    assert re.search(r"downloading 40 %.*\n.*on_trial.*\n.*up_to_date", shown)
    assert "crashed" in signed_in("device", "watch", "bad", "--interval", "0s", want=8).stdout
    fake.devices["slow"] = device("slow", state="updating")
    signed_in("device", "watch", "slow", "--interval", "0s", "--wait", "1s", want=7)


def test_events_follow_is_ended_by_ctrl_c_with_130(signed_in):
    assert len(signed_in("events", "--jsonl").stdout.splitlines()) == 3
    process = subprocess.Popen([PAGURUS, "events", "--follow", "--jsonl"], env=signed_in.env, stdout=subprocess.PIPE,
                               text=True, cwd=signed_in.cwd)
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(2)
    assert process.wait(5) == 130 and [json.loads(line)["seq"] for line in lines] == [1, 2, 3]


# ---- failures ----

def test_safe_calls_and_posts_are_tried_again_with_the_same_idempotency_key(signed_in, fake):
    fake.fail_next = [503, 503, 429]
    signed_in("whoami")
    assert len(fake.calls) == 4
    fake.calls.clear()
    fake.fail_next = [503]
    signed_in("product", "create", "meter", "--chip", "posix", "--hardware", "posix")
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in fake.calls]
    assert len(keys) == 2 and len(set(keys)) == 1 and len(keys[0]) >= 16


def test_exit_codes_follow_the_status(signed_in, fake):
    for status, code in ((400, 2), (403, 4), (404, 3), (409, 5), (412, 5), (422, 2), (500, 1), (507, 1)):
        fake.fail_next = [status]
        done = signed_in("whoami", want=code)
        assert "the queue is full" in done.stderr and "fix: do the other thing" in done.stderr
    fake.fail_next = [503] * 9
    signed_in("whoami", want=6)
    fake.fail_next = [429] * 9
    signed_in("whoami", want=7)


def test_a_dead_server_is_6_and_a_foreign_certificate_is_6(signed_in, fake, tmp_path):
    assert "fix:" in signed_in("whoami", "--server", "https://127.0.0.1:1", "--timeout", "1s",
                               env={"PAGURUS_TOKEN": "t"}, want=6).stderr
    (tmp_path / "other").mkdir()
    other = Fake(tmp_path / "other")
    try:
        done = signed_in("whoami", "--server", other.url, "--ca", fake.root_file, env={"PAGURUS_TOKEN": "t"}, want=6)
        assert not other.calls and "login" in done.stderr
    finally:
        other.close()


def test_errors_in_json_mode_are_problem_json_on_stderr(signed_in, fake):
    fake.fail_next = [409]
    done = signed_in("whoami", "--json", want=5)
    assert done.stdout == "" and json.loads(done.stderr)["code"] == "busy"


def test_api_sends_typed_fields_and_prints_the_body(signed_in, fake):
    fake.products["meter"] = {"id": "prd_0011223344556677", "name": "meter", "settings": {}}
    signed_in("api", "PATCH", "/products/meter", "--input", "-", stdin='{"settings":{"poll_s":60}}')
    assert fake.products["meter"]["settings"] == {"poll_s": 60}
    signed_in("api", "POST", "/products", "-F", "name=lamp", "-F", "slot_bytes=1000", "-F", "x=true")
    assert json.loads(fake.calls[-1][3]) == {"name": "lamp", "slot_bytes": 1000, "x": True}
    assert json.loads(signed_in("api", "GET", "/api/v1/products").stdout)["items"]
    signed_in("api", "FETCH", "/products", want=2)


def test_a_full_disk_is_not_called_success(signed_in):
    with open("/dev/full", "w") as full:
        done = subprocess.run([PAGURUS, "whoami"], env=signed_in.env, stdout=full, stderr=subprocess.PIPE, cwd=signed_in.cwd,
                              text=True, check=False)
    assert done.returncode == 1 and "disk full" in done.stderr


# ---- doctor ----

def test_doctor_names_each_finding_with_its_remedy(signed_in, fake):
    fake.products["meter"] = {"id": "prd_0011223344556677", "name": "meter", "trust_version": 1}
    assert signed_in.json("doctor")["ok"] is True
    fake.products["meter"]["trust_version"] = 0
    fake.skew_s = 3600
    found = {f["check"]: f for f in signed_in.json("doctor", want=1)["findings"]}
    assert found["clock"]["state"] == "fail" and "3600" in found["clock"]["why"]
    assert "key trust create" in found["trust set of meter"]["fix"]
    assert found["TLS name"]["state"] == "ok" and found["certificate of the console"]["state"] == "ok"
    assert "fix: " in signed_in("doctor", want=1).stdout


# ---- keys ----

def test_a_key_is_encrypted_private_and_never_overwritten(cli):
    made = cli.json("key", "generate", "ci", "--passphrase-file", cli.passphrase)
    path = cli.home / "cfg" / "pagurus" / "keys" / "ci.pem"
    pem = path.read_bytes()
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in pem and path.stat().st_mode & 0o777 == 0o600
    private = serialization.load_pem_private_key(pem, b"correct horse battery")
    assert isinstance(private.curve, ec.SECP256R1)
    spki = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert made["key_id"] == hashlib.sha256(spki).hexdigest()[:16]
    assert serialization.load_pem_public_key(cli("key", "public", "ci").stdout.encode()).public_numbers() == \
        private.public_key().public_numbers()
    cli("key", "generate", "ci", "--passphrase-file", cli.passphrase, want=5)
    assert path.read_bytes() == pem
    row = cli.json("key", "list")["items"][0]
    assert (row["name"], row["key_id"], row["protected"]) == ("ci", made["key_id"], True)


def test_passphrases_are_asked_twice_and_must_agree(cli):
    shown = cli.terminal("key", "generate", "a", answers=[("passphrase for a", "one two three"), ("again", "one two four")], want=2)
    assert "differ" in shown and "one two" not in shown
    cli.terminal("key", "generate", "a", answers=[("passphrase for a", "short")], want=2)
    cli.terminal("key", "generate", "a", answers=[("passphrase for a", "one two three"), ("again", "one two three")])
    assert "--passphrase-file" in cli("key", "generate", "b", want=2).stderr
    assert "--passphrase-file" in cli.terminal("key", "generate", "b", "--no-input", want=2)


def test_a_passphrase_may_come_over_a_descriptor(cli):
    with open(cli.passphrase) as f:
        cli("key", "generate", "ci", "--passphrase-fd", f.fileno(), pass_fds=[f.fileno()])
    pem = (cli.home / "cfg" / "pagurus" / "keys" / "ci.pem").read_bytes()
    serialization.load_pem_private_key(pem, b"correct horse battery")


def test_import_protects_a_plain_key_and_refuses_other_curves(cli):
    for curve, want in ((ec.SECP256R1(), 0), (ec.SECP384R1(), 2)):
        key = ec.generate_private_key(curve)
        file = cli.home / f"{curve.name}.pem"
        file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
        cli("key", "import", curve.name, file, "--passphrase-file", cli.passphrase, want=want)
    assert b"ENCRYPTED" in (cli.home / "cfg" / "pagurus" / "keys" / "secp256r1.pem").read_bytes()


# ---- trust sets and releases ----

@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    """Real ELF executables with the marked block: (version, product, hardware, epoch) -> file."""
    folder = tmp_path_factory.mktemp("firmware")

    def build(version, product="meter", hardware="posix"):
        file = folder / f"{product}-{version}-{hardware}"
        if not file.exists():
            source = folder / "main.c"
            source.write_text('#include <pagurus/identity.h>\nconst struct pag_identity pag_identity '
                              f'__attribute__((used, aligned(4))) = PAG_IDENTITY("{product}", "{version}", "{hardware}");\n'
                              "int main(void) { return 0; }\n")
            subprocess.run([os.environ.get("CC", "cc"), "-I", ROOT / "include", "-o", file, source], check=True)
        return file
    return build


def product_of(fake, **more):
    fake.products["meter"] = {"id": "prd_0011223344556677", "name": "meter", "chip": "posix", "hardware": ["posix"],
                              "slot_bytes": 1 << 20, "trust_version": 0, "settings": {}, **more}


def open_sign1(cose, cli, key):
    """Payload map of a COSE_Sign1 after checking its signature with the public half of a key of cli."""
    tag = cborish.loads(cose)
    protected, _, payload, sig = tag.value
    public = serialization.load_pem_public_key(cli("key", "public", key).stdout.encode())
    public.verify(encode_dss_signature(int.from_bytes(sig[:32], "big"), int.from_bytes(sig[32:], "big")),
                  cborish.dumps(["Signature1", protected, b"", payload]), ec.ECDSA(hashes.SHA256()))
    return cborish.loads(payload)


def test_push_with_sign_first_makes_keys_trust_set_manifest_and_permit(signed_in, fake, firmware):
    product_of(fake)
    one = firmware("1.0.0")
    done = signed_in("release", "push", one, "--sign", "first", "--passphrase-file", signed_in.passphrase)
    assert "posix · meter 1.0.0" in done.stderr and "reaches 2 of 3" in done.stderr and "no slot" in done.stderr
    assert "first-root" in done.stderr and "withdraw" in done.stderr and "uploading firmware 100 %" in done.stderr
    assert done.stdout == "rel_1\n" and fake.releases["rel_1"]["state"] == "published"
    trust = cborish.loads(cborish.loads(fake.trust[("meter", 1)]).value[2])
    assert trust[3].hex() == "0011223344556677" and len(trust[5]) == 1 and len(trust[7]) == 1
    image = one.read_bytes()
    m = open_sign1(fake.manifests[0], signed_in, "first")
    assert (m[2], m[3].hex(), m[4], m[5], m[6], m[7]) == (0, "0011223344556677", [b"posix"], 255, "firmware", "1.0.0")
    assert (m[10], m[11], m[12]) == (1, hashlib.sha256(image).digest(), len(image)) and fake.permits == []
    assert len(fake.manifests[0]) <= 512

    two = firmware("1.1.0")
    done = signed_in("release", "push", two, "--json", "--passphrase-file", signed_in.passphrase)
    assert json.loads(done.stdout)["release"]["version"] == "1.1.0"
    p = open_sign1(fake.permits[0], signed_in, "first")
    assert (p[2], p[7], p[10], p[11]) == (6, "1.0.0", 1, hashlib.sha256(image).digest()) and p[17][0] == 2 and p[15] > time.time()


def test_push_refuses_what_would_brick_or_go_back_before_anything_is_sent(signed_in, fake, firmware, tmp_path):
    product_of(fake)
    common = ("--sign", "first", "--passphrase-file", signed_in.passphrase)
    signed_in("release", "push", firmware("1.2.0"), *common)
    fake.calls.clear()

    def refused(code, says, *words):
        done = signed_in("release", "push", *words, *common, want=code)
        assert says in done.stderr and "fix:" in done.stderr, done.stderr
    refused(5, "is older than 1.2.0", firmware("1.1.9"))
    refused(5, "published already", firmware("1.2.0"))
    refused(2, "says that it is firmware of lamp", firmware("2.0.0", "lamp"), "--product", "meter")
    refused(2, "board other-board", firmware("2.0.0", "meter", "other-board"))
    fake.products["meter"]["chip"] = "esp8266"
    refused(2, "is built for posix, product meter is esp8266", firmware("2.0.0"))
    fake.products["meter"].update(chip="posix", slot_bytes=1000)
    refused(2, "bytes too many", firmware("2.0.0"))
    cut = tmp_path / "cut.bin"
    cut.write_bytes(firmware("2.0.0").read_bytes()[:3000])
    refused(2, "cut.bin", cut, "--product", "meter", "--version", "3")
    refused(3, "nothing.bin", tmp_path / "nothing.bin")
    assert all(method == "GET" for method, _, _, _ in fake.calls), "something was changed on the server"
    fake.products["meter"]["slot_bytes"] = 1 << 20
    signed_in("release", "push", firmware("1.1.9"), *common, "--allow-downgrade", "1.2.0 floods the cellar")


def test_push_refuses_a_key_that_the_trust_set_does_not_list(signed_in, fake, firmware):
    product_of(fake)
    common = ("--passphrase-file", signed_in.passphrase)
    assert "no trust set" in signed_in("release", "push", firmware("1.0.0"), *common, want=4).stderr
    signed_in("release", "push", firmware("1.0.0"), "--sign", "first", *common)
    signed_in("key", "generate", "stranger", *common)
    done = signed_in("release", "push", firmware("1.1.0"), "--sign", "stranger", *common, want=4)
    assert "rotate --product meter --add-release stranger" in done.stderr and len(fake.releases) == 1
    assert "passphrase" in signed_in("release", "push", firmware("1.1.0"), "--sign", "first", "--no-input", want=2).stderr
    wrong = signed_in.home / "wrong.txt"
    wrong.write_text("not the passphrase\n")
    wrong.chmod(0o600)
    signed_in("release", "push", firmware("1.1.0"), "--sign", "first", "--passphrase-file", wrong, want=4)


def test_an_unprotected_key_needs_its_mark(signed_in, fake, firmware):
    product_of(fake)
    signed_in("release", "push", firmware("1.0.0"), "--sign", "first", "--no-passphrase")
    path = signed_in.home / "cfg" / "pagurus" / "keys" / "first.pem"
    assert signed_in.json("key", "list")["items"][0]["protected"] is False
    signed_in("release", "push", firmware("1.1.0"))
    pem = path.read_bytes()
    path.write_bytes(pem[pem.index(b"-----BEGIN"):])
    path.chmod(0o600)
    assert "has no passphrase" in signed_in("release", "push", firmware("1.2.0"), want=2).stderr
    path.write_bytes(pem)
    path.chmod(0o640)
    assert "chmod 600" in signed_in("release", "push", firmware("1.2.0"), want=2).stderr


def test_a_broken_push_is_taken_up_again(signed_in, fake, firmware):
    product_of(fake)
    common = ("--sign", "first", "--no-passphrase")
    signed_in("release", "push", firmware("1.0.0"), *common, "--draft")
    assert fake.releases["rel_1"]["state"] == "draft"
    assert "going on with draft rel_1" in signed_in("release", "push", firmware("1.0.0"), *common).stderr
    assert fake.releases["rel_1"]["state"] == "published" and len(fake.releases) == 1


def test_a_draft_is_signed_and_published_in_steps_of_its_own(signed_in, fake, firmware):
    product_of(fake)
    signed_in("release", "push", firmware("1.0.0"), "--sign", "first", "--no-passphrase", "--draft")
    fake.manifests.clear()
    assert "is not" in signed_in("release", "sign", "rel_1", firmware("1.1.0"), "--sign", "first", want=5).stderr
    signed_in("release", "sign", "rel_1", firmware("1.0.0"), "--sign", "first")
    assert open_sign1(fake.manifests[0], signed_in, "first")[10] == 1
    signed_in("release", "publish", "1.0.0")
    assert "needs an answer" in signed_in("release", "withdraw", "1.0.0", want=2).stderr
    signed_in("release", "withdraw", "1.0.0", "--yes")
    assert fake.releases["rel_1"]["state"] == "withdrawn"


def test_verify_and_download_check_digest_and_signature(signed_in, fake, firmware, tmp_path):
    product_of(fake)
    signed_in("release", "push", firmware("1.0.0"), "--sign", "first", "--no-passphrase")
    cose = tmp_path / "m.cose"
    cose.write_bytes(fake.manifests[0])
    verify = ("release", "verify", cose, "--pub", "first", "--image")
    assert "signature good" in signed_in(*verify, firmware("1.0.0")).stdout
    signed_in(*verify, firmware("1.1.0"), want=4)
    bad = bytearray(fake.manifests[0])
    bad[-1] ^= 1
    cose.write_bytes(bad)
    signed_in(*verify, firmware("1.0.0"), want=4)
    assert "meter 1.0.0" in signed_in("release", "verify", firmware("1.0.0")).stdout
    signed_in("release", "verify", "1.0.0")
    out = tmp_path / "out.bin"
    signed_in("release", "download", "1.0.0", "-o", out)
    assert out.read_bytes() == firmware("1.0.0").read_bytes()
    fake.blobs[("rel_1", "firmware")] += b"x"
    other = tmp_path / "other.bin"
    signed_in("release", "download", "1.0.0", "-o", other, want=1)
    assert not other.exists() and not list(tmp_path.glob("*.part"))


def test_trust_sets_rotate_by_thresholds_and_a_swapped_one_is_noticed(signed_in, fake):
    product_of(fake)
    for name in ("root-a", "root-b", "ci", "ci2"):
        signed_in("key", "generate", name, "--no-passphrase")
    made = signed_in.json("key", "trust", "create", "--product", "meter", "--root", "root-a,root-b", "--threshold", "2",
                          "--release", "ci")
    assert made["version"] == 1 and made["root_threshold"] == 2
    cose = cborish.loads(fake.trust[("meter", 1)])
    assert len(cose.value[3]) == 2
    assert "rotate" in signed_in("key", "trust", "create", "-p", "meter", "--root", "root-a", "--release", "ci", want=5).stderr
    rotated = signed_in.json("key", "trust", "rotate", "--product", "meter", "--add-release", "ci2", "--drop-release", "ci")
    assert rotated["version"] == 2 and len([k for k in rotated["keys"] if k["role"] == "release"]) == 1
    payload = cborish.loads(cborish.loads(fake.trust[("meter", 2)]).value[2])
    assert payload[11] == hashlib.sha256(fake.trust[("meter", 1)]).digest()

    # Another machine starts with nothing: it says so before its roots vouch for what the server shows.
    shutil.rmtree(signed_in.home / "cfg" / "pagurus" / "trust")
    assert "needs an answer" in signed_in("key", "trust", "rotate", "-p", "meter", "--add-release", "ci", want=2).stderr
    assert signed_in.json("key", "trust", "show", "meter")["version"] == 2

    # A server that swaps the chain for one of its own is not followed.
    (signed_in.home / "cfg" / "pagurus" / "trust" / "prd_0011223344556677.2.cose").unlink()
    fake.trust[("meter", 2)] = fake.trust[("meter", 1)]
    assert "does not follow" in signed_in("key", "trust", "show", "meter", want=4).stderr
    (signed_in.home / "cfg" / "pagurus" / "keys" / "root-b.pem").unlink()
    fake.trust[("meter", 1)] = fake.trust[("meter", 1)]
    fake.products["meter"]["trust_version"] = 1
    assert "1 root(s) signed" in signed_in("key", "trust", "rotate", "-p", "meter", "--add-release", "ci2", want=4).stderr


def test_upload_draws_a_bar_on_a_terminal_and_lines_elsewhere(signed_in, fake, firmware):
    product_of(fake)
    shown = signed_in.terminal("release", "push", firmware("1.0.0"), "--sign", "first", "--no-passphrase")
    assert "█" in shown and "100 %" in shown and "\r\x1b[K" in shown
    quiet = signed_in("release", "push", firmware("1.1.0"), "--sign", "first", "-q")
    assert quiet.stderr == "" and quiet.stdout == "rel_2\n"


def test_enroll_makes_codes_and_a_device_configuration(signed_in, fake, firmware):
    product_of(fake)
    assert signed_in("enroll", "code", "create", "-p", "meter", "--uses", "5", "--ttl", "2d").stdout == "ABCD-EFGH\n"
    assert json.loads(fake.calls[-1][3]) == {"product": "meter", "uses": 5, "ttl_s": 172800}
    assert "no trust set" in signed_in("enroll", "device-config", "-p", "meter", want=3).stderr
    signed_in("release", "push", firmware("1.0.0"), "--sign", "first", "--no-passphrase")
    text = signed_in("enroll", "device-config", "-p", "meter", "--device-server", "ota.lan:9444").stdout
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith(("#", "M")))
    assert values["server"] == "ota.lan" and values["port"] == "9444" and values["product"] == "0011223344556677"
    assert values["claim"] == "ABCD-EFGH" and values["hardware"] == "posix" and values["chip"] == "posix"
    assert values["trust_pin"] == hashlib.sha256(fake.trust[("meter", 1)]).hexdigest() and values["trust_pin_version"] == "1"
    assert fake.root_pem.decode() in text


# ---- manual pages ----

def pages():
    return sorted(MAN.glob("*.scd"))


@pytest.mark.skipif(not shutil.which("scdoc"), reason="scdoc is not installed")
@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_manual_page_builds(page):
    done = subprocess.run(["scdoc"], stdin=open(page, "rb"), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(b".\\\"") or b".TH" in done.stdout


def test_every_command_and_flag_is_in_its_manual_page(cli):
    table = json.loads(cli("__table").stdout)
    top = (MAN / "pagurus.1.scd").read_text()
    for flag in table["global"]:
        assert f"*--{flag['name']}*" in top, f"--{flag['name']} is not in pagurus(1)"
    nouns = {c["path"].split()[0] for c in table["commands"] if " " in c["path"]}
    for command in table["commands"]:
        noun = command["path"].split()[0]
        text = (MAN / f"pagurus-{noun}.1.scd").read_text() if noun in nouns else top
        assert f"*pagurus {command['path']}*" in text, command["path"]
        section = text.split(f"*pagurus {command['path']}*")[1].split("\n*pagurus ")[0]
        for flag in command["flags"]:
            assert f"*--{flag['name']}*" in section, f"--{flag['name']} of {command['path']}"
    for page in pages():
        if page.name.startswith("pagurus-") or page.name == "pagurus.1.scd":
            assert "# EXIT STATUS" in page.read_text(), page.name
            assert "130" in page.read_text() or page.name == "pagurus-sim.1.scd", page.name  # it ends well by Ctrl-C


# ---- the real server ----

needs_server = pytest.mark.skipif(not (BUILD / "pagurusd").exists(), reason="pagurusd is not built")


@needs_server
def test_the_whole_way_against_the_real_server(cli, server, firmware):
    url = f"https://127.0.0.1:{server.ports['console']}"
    show = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", server.data / "ca" / "root.pem"],
                          capture_output=True, text=True, check=True).stdout.strip().split("=")[1]
    cli("login", url, "--token-stdin", "--trust-fingerprint", show, stdin=server.token + "\n")
    assert cli.json("whoami")["role"] == "admin"
    cli("product", "create", "meter", "--chip", "posix", "--hardware", "posix", "--slot", 1 << 20)
    cli("release", "push", firmware("1.0.0"), "--sign", "first", "--passphrase-file", cli.passphrase)
    done = cli("release", "push", firmware("1.1.0"), "--passphrase-file", cli.passphrase)
    release = cli.json("release", "show", done.stdout.strip())
    assert (release["state"], release["version"], release["sequence"]) == ("published", "1.1.0", 2)
    cli("release", "verify", "1.0.0")
    assert cli("release", "push", firmware("1.0.5"), "--passphrase-file", cli.passphrase, want=5).stderr
    assert cli("enroll", "code", "create", "-p", "meter").stdout.strip()
    assert "claim=" in cli("enroll", "device-config", "-p", "meter").stdout
    enrolled = server.enroll("meter", mac="84f3eb0000aa")
    assert cli.json("device", "list")["items"][0]["id"] == enrolled.id
    cli("device", "rename", enrolled.id, "cellar")
    cli("device", "tag", "cellar", "+wet")
    assert cli.json("device", "show", "cellar")["tags"] == ["wet"]
    cli("device", "check", "cellar")
    cli("device", "revoke", "cellar", "--yes", "--confirm", enrolled.id)
    assert cli.json("device", "show", "cellar")["state"] == "revoked"
    cli("release", "withdraw", "1.1.0", "--yes")
    for words in (["status"], ["ca", "show"], ["key", "trust", "show", "meter"], ["events"],
                  ["enroll", "code", "list"], ["product", "show", "meter"], ["key", "list", "--remote"]):
        cli(*words)
    found = {f["check"]: f["state"] for f in cli.json("doctor", want=1)["findings"]}
    assert found["server"] == "ok" and found["root key"] == "fail" and found["trust set of meter"] == "ok"
