"""Families of hostile file contents: what people, editors, networks and enemies put where a text should be.

Each family makes many variants from a number, so that no family is a single example. Knows nothing of what reads them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

Family = Callable[[random.Random], bytes]

VALID = b"---\nskills: [triage]\nmodel: cheap\nlimits: {steps: 40, per_day: {usd: 5}}\n---\nProse.\n"
KEYS = ["allow", "skills", "every", "cron", "active", "check", "limits", "gates", "files", "model", "delegates", "when"]


def _matter(body: str) -> bytes:
    return f"---\n{body}\n---\nProse.\n".encode()


def _garbage(random_: random.Random) -> bytes:
    return random_.randbytes(random_.randrange(1, 4_000))


def _garbage_in_front_matter(random_: random.Random) -> bytes:
    return b"---\nallow: " + random_.randbytes(random_.randrange(1, 400)) + b"\n---\n"


def _cut_anywhere(random_: random.Random) -> bytes:
    return VALID[: random_.randrange(len(VALID))]


def _one_byte_changed(random_: random.Random) -> bytes:
    data = bytearray(VALID)
    for _ in range(random_.randrange(1, 4)):
        data[random_.randrange(len(data))] = random_.randrange(256)
    return bytes(data)


def _encodings(random_: random.Random) -> bytes:
    text = VALID.decode() + "Grüße, 你好, \N{GRINNING FACE}, עברית\n"
    codec = random_.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp1252", "shift_jis"])
    return text.encode(codec, "replace")


def _broken_utf16(random_: random.Random) -> bytes:
    return b"\xff\xfe" + random_.randbytes(random_.randrange(1, 99) * 2 - 1)


def _surrogates(random_: random.Random) -> bytes:
    return _matter(f"model: \\ud8{random_.randrange(256):02x}").replace(b"\\ud8", b"\xed\xa0\x80")


def _line_ends(random_: random.Random) -> bytes:
    ends = [b"\r\n", b"\r", b"\n\r", b"\x0b", b"\xc2\x85", b"\xe2\x80\xa8"]
    return VALID.replace(b"\n", random_.choice(ends))


def _nul_and_controls(random_: random.Random) -> bytes:
    control = bytes([random_.choice([0, 1, 7, 8, 11, 27, 127])])
    return VALID.replace(b"cheap", b"che" + control + b"ap")


def _deep_flow(random_: random.Random) -> bytes:
    depth = random_.choice([10, 30, 500, 20_000])
    return _matter(f"{random_.choice(KEYS)}: " + "[" * depth + "]" * depth)


def _deep_open(random_: random.Random) -> bytes:
    return _matter(
        f"{random_.choice(KEYS)}: " + random_.choice(["[", "{a: ", "{? ", "- "]) * random_.choice([40, 9_000])
    )


def _deep_block(random_: random.Random) -> bytes:
    depth = random_.choice([15, 60, 300])
    return _matter("\n".join(f"{' ' * level}a:" for level in range(depth)))


def _aliases(random_: random.Random) -> bytes:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for level in range(random_.randrange(1, 9)):
        before, this = chr(97 + level), chr(98 + level)
        lines.append(f"{this}: &{this} [{', '.join([f'*{before}'] * 9)}]")
    return _matter("\n".join(lines))


def _self_reference(random_: random.Random) -> bytes:
    return _matter(random_.choice(["allow: &a [*a]", "skills: &a {x: *a}", "model: *nothing", "allow: &a\n- *a"]))


def _tags(random_: random.Random) -> bytes:
    tags = ["!!python/object/apply:os.system ['id']", "!!binary aGk=", "!!timestamp 2026-01-01", "!x y", "!!set {a}"]
    return _matter(f"{random_.choice(KEYS)}: {random_.choice([*tags, '!<tag:x> y', '!!int x', '!!float .'])}")


def _directives(random_: random.Random) -> bytes:
    return _matter(
        random_.choice(["%YAML 1.1\nmodel: x", "%TAG ! tag:x,2000:\nmodel: x", "%FOO\nallow: x", "% \nallow: 1"])
    )


def _duplicate_keys(random_: random.Random) -> bytes:
    key = random_.choice(KEYS)
    return _matter(f"{key}: [a]\n" * random_.randrange(2, 9))


def _merge_keys(random_: random.Random) -> bytes:
    return _matter(random_.choice(["<<: {allow: [x]}", "x: &x {a: 1}\nlimits:\n  <<: *x", "'<<': y"]))


def _odd_keys(random_: random.Random) -> bytes:
    odd = ["? [a, b]\n: c", "{a: b}: c", "null: x", "true: x", "1.5: x", "~: x", "? \n: x", "'': x", "\u202eallow: [x]"]
    return _matter(random_.choice([*odd, "al low: x", "ALLOW: [x]", f"{'k' * 5_000}: x", "\N{PILE OF POO}: x"]))


def _misspelt(random_: random.Random) -> bytes:
    key = random_.choice(KEYS)
    at = random_.randrange(len(key))
    return _matter(f"{key[:at]}{random_.choice('xyz_-')}{key[at + 1 :]}: [a]")


def _wrong_types(random_: random.Random) -> bytes:
    values = [
        "true",
        "1",
        "-1",
        "1.5",
        ".inf",
        ".nan",
        "null",
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "{a: {b: c}}",
        "[null]",
        "''",
    ]
    return _matter(
        f"{random_.choice(KEYS)}: {random_.choice([*values, '2026-01-01', '0x10', '0o7', '1_000', '1:30:00'])}"
    )


def _large_numbers(random_: random.Random) -> bytes:
    number = random_.choice(["9" * 30, "9" * 5_000, "1e999", "-1e-999", "1" + "0" * 400 + ".5"])
    return _matter(f"limits: {{{random_.choice(['steps', 'tokens', 'usd', 'wall', 'identical'])}: {number}}}")


def _tabs(random_: random.Random) -> bytes:
    return _matter(random_.choice(["limits:\n\tsteps: 4", "\tmodel: x", "model:\tx", "allow:\n-\tx", "gates:\n\t- a"]))


def _indentation(random_: random.Random) -> bytes:
    broken = ["model: a\n b: c", "  model: a\nskills: b", "skills:\n- a\n  - b", "a: b: c", "limits:\n  a: 1\n b: 2"]
    return _matter(
        random_.choice([*broken, "model: 'a", 'model: "a\\q"', "model: [a", "model: a]", "model: @a", "- a\n- b"])
    )


def _block_scalars(random_: random.Random) -> bytes:
    return _matter(f"{random_.choice(KEYS)}: {random_.choice(['|', '>', '|+', '>-', '|9', '|x', '>2'])}\n  a\n   b\n c")


def _without_end(random_: random.Random) -> bytes:
    return random_.choice(
        [b"---\nallow: [files.read]\n", b"---\n", b"---", b"---\n---", b"--- \n\n...\n", b"\n\n---\nallow: x"]
    )


def _dashes(random_: random.Random) -> bytes:
    return "".join(
        random_.choice(["---\n", "--- x\n", "----\n", "***\n", "text\n", "a: b\n", "\n", "...\n"]) for _ in range(9)
    ).encode()


def _documents(random_: random.Random) -> bytes:
    return _matter(random_.choice(["model: a\n--- b", "model: a\n... \nmodel: b", "--- {model: a}", "a: b\n---\nc: d"]))


def _paths(random_: random.Random) -> bytes:
    bad = ["/etc/passwd", "../x", "a/../../b", "~/.ssh", "C:\\\\x", "\\\\\\\\host", "notes/\\u0000", "."]
    return _matter(f'files: {{read: ["{random_.choice(bad)}"], write: ["{random_.choice(bad)}"]}}')


def _conditions(random_: random.Random) -> bytes:
    bad = [
        "args.x >",
        "(" * 500,
        "1/0 == 1",
        "a" * 3_000,
        "args.matches('(a*)*$')",
        "x.all(y, y)",
        "'",
        "inbox.files",
        "true",
    ]
    key = random_.choice(["check: {when: %s}", "gates: [{tool: x, when: %s}]", "gates: [{when: %s, expires: 24h}]"])
    return _matter(key % repr(random_.choice(bad)))


def _schedules(random_: random.Random) -> bytes:
    bad = [
        "every: 0s",
        "every: -1m",
        "every: 1e9d",
        "cron: '* * * *'",
        "cron: '99 * * * *'",
        "every: 5m\ncron: '* * * * *'",
    ]
    zone = random_.choice(["", "\ntimezone: Mars", "\ntimezone: ../x", "\nactive: 25:00-26:00", "\nactive: [1, 2]"])
    return _matter(random_.choice([*bad, "every: 15m"]) + zone)


def _schemas(random_: random.Random) -> bytes:
    bad = [
        "{type: nothing}",
        "[]",
        "{$ref: 'http://127.0.0.1:1/x'}",
        "{$ref: '#/a'}",
        "{pattern: '('}",
        "true",
        "{minimum: x}",
    ]
    return _matter(f"produces: {{name: x, version: 1, schema: {random_.choice([*bad, '{allOf: 3}', '{$schema: x}'])}}}")


def _large(random_: random.Random) -> bytes:
    kind = random_.choice(["prose", "matter", "line", "keys", "file"])
    match kind:
        case "prose":
            return VALID + b"Many words. \xf0\x9f\x98\x80 " * 16_000
        case "matter":
            return _matter("model: " + "x" * 70_000)
        case "line":
            return b"#" * 200_000
        case "keys":
            return _matter("\n".join(f"k{number}: x" for number in range(4_000)))
        case _:
            return b"x" * 1_100_000


def _pictures(random_: random.Random) -> bytes:
    return random_.choice(
        [b"\x89PNG\r\n\x1a\n", b"%PDF-1.7\n", b"PK\x03\x04", b"\x7fELF", b"GIF89a"]
    ) + random_.randbytes(300)


def _empty(random_: random.Random) -> bytes:
    return random_.choice(
        [b"", b"\n", b" ", b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n\r\n", b"\x00", b"\xef\xbb\xbf---\n---\n"]
    )


FAMILIES: dict[str, Family] = {
    name.removeprefix("_"): value
    for name, value in dict(globals()).items()
    if name.startswith("_") and not name.startswith(("__", "_matter")) and callable(value)
}
"""Name -> family. `FAMILIES[name](random.Random(seed))` is one variant."""
