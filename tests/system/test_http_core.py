"""The request parser against h11: what it takes, h11 takes with the same method, target, headers and body.

Messages are the seeds of fuzz/corpus/http, a table of smuggling attempts, and mutations of both (PAG_SEED repeats a run).
What h11 is stricter about is listed in h11_is_stricter(); docs/spec/http.md gives the reasons.
"""
import itertools
import os
import pathlib
import random
import struct
import subprocess

import h11

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PAG_BUILD", ROOT / "build" / "dev")).resolve()
MUTATIONS = 30000

LENGTHS = [b"Content-Length: 6", b"Content-Length:6", b"content-length: 6 ", b"Content-Length : 6", b"Content-Length: +6",
           b"Content-Length: 0x6", b"Content-Length: 6, 6", b" Content-Length: 6", b"Content-Length: 06",
           b"Content_Length: 6", b"Content-Length: \x0b6", b"Content-Length: 6\r\nContent-Length: 6",
           b"Content-Length: 6\r\nContent-Length: 7", b"X: y\nContent-Length: 6", b"X: y\r\n Content-Length: 6"]
ENCODINGS = [b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"Transfer-Encoding : chunked",
             b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked",
             b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", b"Transfer-Encoding: \x0bchunked",
             b"Transfer-Encoding:\tchunked", b" Transfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked",
             b"X: y\nTransfer-Encoding: chunked", b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding\x80: chunked"]
BODIES = [b"0\r\n\r\nG", b"1\r\nx\r\n0\r\n\r\n", b"abcdef", b"00000000\r\n\r\n", b"6\r\nabcdef\r\n0\r\nT: v\r\n\r\n"]


def smuggling():
    for length, encoding, body in itertools.product(LENGTHS + [b"X: z"], ENCODINGS + [b"Y: z"], BODIES):
        for fields in ((length, encoding), (encoding, length)):
            yield b"POST /a HTTP/1.1\r\nHost: a\r\n" + b"\r\n".join(fields) + b"\r\n\r\n" + body


def mutated(seeds, rng):
    special = [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"0", b"\x00", b"\x80", b",", b";", b"chunked", b"Content-Length: 1\r\n"]
    for _ in range(MUTATIONS):
        text = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(text) + 1)
            kind = rng.randrange(3)
            if kind == 0:
                text[at:at] = rng.choice(special)
            elif kind == 1:
                text[at:at + rng.randint(1, 3)] = b""
            else:
                text[at:at + 1] = bytes([rng.randrange(256)])
        yield bytes(text)


def ours(messages):
    stream = b"".join(struct.pack("<I", len(m)) + m for m in messages)
    out = subprocess.run([BUILD / "http_judge"], input=stream, capture_output=True, check=True, timeout=60).stdout
    lines = out.decode().splitlines()
    assert len(lines) == len(messages)
    return [line.split() for line in lines]


def unhex(text):
    return b"" if text == "-" else bytes.fromhex(text)


def theirs(message):
    """(method, target, headers, body), or the reason why h11 does not take it."""
    server = h11.Connection(h11.SERVER)
    try:
        server.receive_data(message)
        request = server.next_event()
        if not isinstance(request, h11.Request):
            return "incomplete head"
        body = b""
        while True:
            event = server.next_event()
            if isinstance(event, h11.EndOfMessage):
                # h11 writes this one value in lower case.
                fields = [(n, v.lower() if n.lower() == b"transfer-encoding" else v) for n, v in request.headers.raw_items()]
                return request.method, request.target, fields, body
            if not isinstance(event, h11.Data):
                return "incomplete body"
            body += bytes(event.data)
    except h11.RemoteProtocolError as error:
        return str(error)


def h11_is_stricter(message, why):
    """Differences that leave one reading: the message is refused there and plain here."""
    head = message.split(b"\r\n\r\n", 1)[0] if not message.startswith(b"\r\n") else message
    line = head.split(b"\r\n")[0]
    return (message.startswith(b"\r\n")                                # an empty line before the request (RFC 9112 2.2)
            or any(c > 0x7e for c in line)                             # bytes from 0x80 on in the target, sent unescaped
            or any(c >= 0x80 for c in head) and "header" in why        # obs-text
            or "chunk" in message.decode("latin-1").lower()
            and ("illegal chunk" in why or "trailer" in why or "header line" in why))  # text of extensions and trailers


def test_what_is_taken_here_h11_reads_the_same_way():
    seed = int(os.environ.get("PAG_SEED", random.randrange(1 << 30)))
    print("PAG_SEED", seed)
    seeds = [p.read_bytes()[4:] for p in sorted((ROOT / "fuzz/corpus/http").iterdir())]
    attempts = list(smuggling())
    assert len(seeds) >= 15 and len(attempts) >= 200
    messages = seeds + attempts + list(mutated(seeds * 60 + attempts[::7], random.Random(seed)))
    taken = strict = 0
    for message, verdict in zip(messages, ours(messages)):
        if verdict[0] != "take":
            continue
        taken += 1
        used, method, target, body = int(verdict[1]), verdict[2].encode(), unhex(verdict[3]), unhex(verdict[4])
        fields = [(unhex(n), unhex(v)) for n, v in zip(verdict[5::2], verdict[6::2])]
        fields = [(n, v.lower() if n.lower() == b"transfer-encoding" else v) for n, v in fields]
        got = theirs(message[:used])
        if isinstance(got, str):
            assert h11_is_stricter(message, got), (got, message)
            strict += 1
            continue
        assert got == (method, target, fields, body), (got, message)
    assert taken > 1000 and strict < taken / 2, (taken, strict)


def test_no_smuggling_attempt_has_two_framing_fields_taken():
    attempts = list(smuggling())
    for message, verdict in zip(attempts, ours(attempts)):
        if verdict[0] == "take":
            names = [unhex(n).lower() for n in verdict[5::2]]
            assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1, message
