"""Hostile messages by the thousand, from one seeded generator: JSON texts, broken and whole.

Made of pieces of JSON text, not of values, since most of what is hostile is no value: NaN, numbers
of 400 digits, halves of surrogate pairs, keys that come twice.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Final

# What stands where something else belongs.
WILD: Final = [
    "null", "true", "false", "0", "-1", "1.5", "1e308", '""', '" "', '"/"', '"//"', "[]", "{}",
    "[null]", '{"a":1}', '"GATEWAY"', '"JOIN_CHANNEL"', '"ping"', '"\\u0000"', '"a\\nb"', '"\x7f"',
    '"\\ud83d\\udc38"', '"\u2028"', '"\u202e"', '"%2e%2e"', '"../../etc"', '"__proto__"',
    '"' + "x" * 255 + '"', '"' + "x" * 256 + '"', '"/room/' + "y" * 249 + '"',
    '"/room/' + "y" * 250 + '"', '"' + "\U0001f438" * 255 + '"', '[[[["deep"]]]]', "[1,2,3]",
]  # fmt: skip
# Whatever these stand in is no JSON in the protocol's sense.
NO_JSON: Final = [
    "NaN", "Infinity", "-Infinity", "1e400", "-1e999", "9" * 400, "01", "1.", ".5", "+1", "0x10",
    "'a'", "undefined", "nul", "tru", '"\\ud800"', '"\\udfff\\ud800"', '"\\ud800x"', '"\\x41"',
    '"\\u12"', '"a\nb"', '"\x00"', '"open', "[1,]", "[1 2]", '{"a"}', '{"a":}', '{"a":1,}',
    "{a:1}", "[", "{", "]", "}", ",", ":", "/**/1", "1 // one",
]  # fmt: skip
HUGE: Final = ["18446744073709551616", "-9223372036854775809", "1" * 30, "-" + "9" * 99]
EDGE: Final = ["18446744073709551615", "-9223372036854775808", "-0", "1e-400", "5e-324", "2e9"]
BYTES: Final = [
    b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80", b"\xfe\xff",
    b"\x00", b"\xef\xbb\xbf", b"\xf8\x88\x80\x80\x80", b"\x1f\x8b\x08", b"\r\n\r\n",
    b"\x16\x03\x01",
]  # fmt: skip
EVENTS: Final = [
    "echo", "echo", "say", "typed", "typed", "show", "unhandled", "CONNECTION", "ACKNOWLEDGE",
    "EXIT_ACKNOWLEDGE", "UNAUTHORIZED", "NOT_FOUND", "EVICTED", "GOODBYE", "PONG", "message",
    "JOIN", "DIFF", "__init__", "goodbye", "e" * 255, "žába", "a b", "*", ":name",
]  # fmt: skip
FIELDS: Final = (
    "action",
    "event",
    "channelName",
    "requestId",
    "payload",
    "since",
    "presence",
    "confirm",
)
KEYS: Final = (*FIELDS, "epoch", "offset", "__proto__", "", "text", "\\u0061ction")


class Corpus:
    """Makes messages.

    Args:
        random: The only source of chance.
        rooms: Names of channels that the messages are about, most of the time.
        name: The start of their request ids: no two corpora of one run should share it.
    """

    def __init__(self, random: Random, rooms: list[str], name: str) -> None:
        self._random = random
        self._rooms = rooms
        self._name = name
        self._count = 0
        kinds: list[tuple[int, Callable[[], bytes]]] = [
            (12, self._whole),
            (8, self._join),
            (8, self._ill_typed),
            (5, self._missing),
            (7, self._not_json),
            (4, self._huge),
            (3, self._deep),
            (5, self._extended),
            (4, self._doubled),
            (4, self._no_envelope),
            (7, self._spoiled),
            (3, self._cut),
            (4, self._bad_bytes),
            (3, self._noise),
            (2, self._ping),
            (1, self._long),
        ]
        self._weights = [weight for weight, _ in kinds]
        self._kinds = [make for _, make in kinds]

    def message(self) -> tuple[str, bytes]:
        """Return a message and the name of its kind."""
        make = self._random.choices(self._kinds, self._weights)[0]
        return make.__name__.strip("_").replace("_", " "), make()

    def array(self) -> tuple[str, bytes]:
        """Several of them as an array, as a POST may carry."""
        few = self._random.choice([0, 1, 1, 2, 2, 3, 5, 8, 64, 65])
        good = self._random.random() < 0.6
        parts = [self._whole() if good else self.message()[1] for _ in range(few)]
        return "array", b"[" + b",".join(parts) + b"]"

    # --- pieces -------------------------------------------------------------------------------

    def _fields(self) -> dict[str, str]:
        self._count += 1
        action = self._random.choice(["BROADCAST", "BROADCAST", "BROADCAST", "LEAVE_CHANNEL"])
        return {
            "action": f'"{action}"',
            "event": json.dumps(self._random.choice(EVENTS)),
            "channelName": json.dumps(self._channel()),
            "requestId": f'"{self._name}{self._count}"',
            "payload": self._payload(),
        }

    def _channel(self) -> str:
        if self._random.random() < 0.85:
            return self._random.choice(self._rooms)
        odd = ["GATEWAY", "/room", "/room/", "/room/1/2", "//", "/nowhere", "/room/%2F", "/room/ž"]
        return self._random.choice([*odd, "room/1", "/", "/ room/1", "/room/\U0001f438", "gateway"])

    def _payload(self) -> str:
        key = json.dumps(self._random.choice(["text", "a", "", "ž", "presence", "id"]))
        values = [
            '"hi"',
            '"hi"',
            "1",
            "[]",
            "{}",
            "null",
            '"\\u0000"',
            *self._random.sample(EDGE, 2),
        ]
        return self._random.choice(["{}", f"{{{key}:{self._random.choice(values)}}}"])

    def _text(self, fields: dict[str, str]) -> bytes:
        names = list(fields)
        if self._random.random() < 0.2:
            self._random.shuffle(names)
        space = self._random.choice(["", "", "", " ", "\r\n\t"])
        pairs = [f'"{name}"{space}:{space}{fields[name]}' for name in names]
        return f"{space}{{{','.join(pairs)}}}{space}".encode("utf-8", "surrogatepass")

    # --- kinds --------------------------------------------------------------------------------

    def _whole(self) -> bytes:
        return self._text(self._fields())

    def _join(self) -> bytes:
        return self._text(self._fields() | {"action": '"JOIN_CHANNEL"'})

    def _ping(self) -> bytes:
        fields = {"action": '"ping"', "requestId": self._fields()["requestId"]}
        if self._random.random() < 0.3:
            fields["requestId"] = self._random.choice(WILD)
        return self._text(fields)

    def _any_action(self) -> dict[str, str]:
        fields = self._fields()
        if self._random.random() < 0.4:
            fields["action"] = '"JOIN_CHANNEL"'
        return fields

    def _ill_typed(self) -> bytes:
        fields = self._any_action()
        for _ in range(self._random.choice([1, 1, 1, 2, 5])):
            fields[self._random.choice(FIELDS)] = self._random.choice(WILD)
        return self._text(fields)

    def _missing(self) -> bytes:
        fields = self._any_action()
        for name in self._random.sample(list(fields), self._random.choice([1, 1, 1, 2, 4])):
            del fields[name]
        return self._text(fields)

    def _not_json(self) -> bytes:
        fields, wrong = self._any_action(), self._random.choice(NO_JSON)
        inside = [wrong, f'{{"n":{wrong}}}', f'{{"n":[1,{wrong}]}}', f"[{wrong}]"]
        fields[self._random.choice([*FIELDS, "payload", "more"])] = self._random.choice(inside)
        return self._text(fields)

    def _huge(self) -> bytes:
        fields, number = self._any_action(), self._random.choice([*HUGE, *EDGE])
        inside = [f'{{"n":{number}}}', f'{{"n":[1.5,{{"m":{number}}}]}}', number]
        place = self._random.choice(["payload", "payload", "more", "since", "requestId"])
        fields[place] = self._random.choice(inside)
        return self._text(fields)

    def _deep(self) -> bytes:
        # At the limit of 64 levels (payload and array begin at the second), and far beyond.
        levels = self._random.choice([61, 62, 62, 63, 63, 64, 65, 200, 2_000])
        fields = self._any_action()
        if self._random.random() < 0.5:
            fields["payload"] = '{"a":' * levels + "1" + "}" * levels
        else:
            fields["payload"] = '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
        return self._text(fields)

    def _extended(self) -> bytes:
        fields = self._any_action() | {"action": '"JOIN_CHANNEL"'}
        epoch = self._random.choice(['"e1"', '"e1"', *WILD])
        offset = self._random.choice(["0", "41", "9223372036854775807", "-1", "1.0", *WILD, *HUGE])
        fields["since"] = f'{{"epoch":{epoch},"offset":{offset}}}'
        fields["presence"] = self._random.choice(['"diff"', '"diff"', "null", '"DIFF"', "{}", "0"])
        return self._text(fields)

    def _doubled(self) -> bytes:
        # A name that comes twice counts as it stands last; unknown names count for nothing.
        text = self._text(self._any_action()).strip()
        key = self._random.choice(KEYS)
        extra = f',"{key}":{self._random.choice([*WILD, *EDGE])}}}'
        return text[:-1] + extra.encode("utf-8", "surrogatepass")

    def _no_envelope(self) -> bytes:
        whole = self._whole().decode()
        texts = [
            *WILD,
            "",
            " ",
            whole + whole,
            f"[{whole}]",
            f"[[{whole}]]",
            whole + ",",
            "\ufeff{}",
        ]
        return self._random.choice(texts).encode("utf-8", "surrogatepass")

    def _spoiled(self) -> bytes:
        text = bytearray(self._random.choice([self._whole, self._join, self._extended])())
        for _ in range(self._random.randint(1, 4)):
            start = self._random.randrange(len(text) + 1)
            stop = min(len(text), start + self._random.randrange(9))
            pieces = [
                b"",
                b'"',
                b"{",
                b"}",
                b"[",
                b"]",
                b",",
                b":",
                b"\\",
                b"9" * 20,
                b"\x00",
                b"/",
            ]
            piece = self._random.choice([*pieces, bytes(text[start:stop]) * 2])
            text[start:stop] = piece
        return bytes(text)

    def _cut(self) -> bytes:
        text = self._whole()
        return text[: self._random.randrange(len(text))]

    def _bad_bytes(self) -> bytes:
        text = self._whole()
        place = self._random.randrange(len(text) + 1)
        return text[:place] + self._random.choice(BYTES) + text[place:]

    def _noise(self) -> bytes:
        return self._random.randbytes(self._random.choice([1, 2, 8, 60, 500]))

    def _long(self) -> bytes:
        size = self._random.choice([1_000, 10_000, 60_000])
        # The oracle's parser takes a microsecond for each number.
        numbers = ",".join("1" * (size // 20))
        value = self._random.choice(['"%s"' % ("a" * size), f"[{numbers}]"])
        return self._text(self._fields() | {"payload": f'{{"text":{value}}}'})
