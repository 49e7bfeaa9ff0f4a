"""How deep a message nests and how large its integers are, against a second, slow opinion."""

import json
import random
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket_common import (
    MAX_BATCH,
    ClientActions,
    InvalidMessage,
    decode_client,
    decode_client_batch,
    decode_server,
)

from tests.common.decoders import DECODERS, Decode, client_text
from tests.common.strategies import more

DEEP, LARGE = "deeper than 64", "outside -2^63"
FORMS: Final = [pytest.param(str, id="str"), pytest.param(str.encode, id="bytes")]
Form = Callable[[str], str | bytes]

# A text taken apart by a plain scanner: strings with their escapes, numbers, brackets.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[-+.eE0-9]+|[\[{]|[\]}]', re.DOTALL)


def fault(text: str, levels: int = 64) -> str | None:
    """What a text is refused for, looked at token by token."""
    depth = deepest = 0
    is_large = False
    for token in _TOKEN.findall(text):
        if token in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in "]}":
            depth -= 1
        elif re.fullmatch("-?[0-9]+", token):
            is_large = is_large or len(token) > 25 or not -(2**63) <= int(token) < 2**64
    return DEEP if deepest > levels else LARGE if is_large else None


def deep(levels: int) -> str:
    """Arrays in arrays."""
    return "[" * levels + "]" * levels


def refusal(decode: Decode, data: str | bytes) -> InvalidMessage | None:
    try:
        decode(data)
    except InvalidMessage as refused:
        return refused
    return None


def assert_judged(payload: str, expected: str | None, *, form: Form = str.encode) -> None:
    """By every way in, alone and beside others, and with its own name in the refusal."""
    text = client_text(payload)
    assert fault(text) == expected
    good = client_text("{}").replace('"r"', '"good"')
    many = "[" + ",".join([good] * 40 + [text] + [good] * 5) + "]"
    for decode, whole in (
        (decode_client, text),
        (decode_client, text.replace('"payload"', '"unknown":1.5,"payload"')),
        (decode_client_batch, text),
        (decode_client_batch, f"[{text}]"),
        (decode_client_batch, f" [ {text} ,{good}]"),
        (decode_client_batch, f"[{good},{text}]"),
        (decode_client_batch, many),
    ):
        refused = refusal(decode, form(whole))
        assert (refused is None) == (expected is None), whole
        if refused is not None and expected is not None:
            assert expected in refused.reason
            assert refused.action is ClientActions.BROADCAST
            assert (refused.channel_name, refused.request_id) == ("/c", "r")
    server = f'{{"epoch":null,{text[1:]}'
    assert (refusal(decode_server, form(server)) is None) == (expected is None)


# --- integers -----------------------------------------------------------------------------------

PLACES: Final = ['{"n":%s}', '{"n":[%s]}', '{"a":[],"n": %s\n}', '{"n":[0,{"m":\t%s }],"b":1.5}']


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("18446744073709551615", None),
        ("18446744073709551616", LARGE),
        ("18446744073709551620", LARGE),
        ("20000000000000000000", LARGE),
        ("99999999999999999999", LARGE),
        ("9999999999999999999", None),
        ("10000000000000000000", None),
        ("100000000000000000000", LARGE),
        ("1" + "0" * 300, LARGE),
        ("-9223372036854775808", None),
        ("-9223372036854775809", LARGE),
        ("-9999999999999999999", LARGE),
        ("-1000000000000000000", None),
        ("-10000000000000000000", LARGE),
        ("-18446744073709551615", LARGE),
        ("9223372036854775808", None),
        ("123456789012345678901234.0", None),
        ("123456789012345678901234e0", None),
        ("123456789012345678901234E-5", None),
        ("-123456789012345678901234.5", None),
        ("0.123456789012345678901234", None),
        ("-0.99999999999999999999", None),
        ("1e00000000000000000000019", None),
        ("1e+0000000000000000000019", None),
        ("1E-9999999999999999999999", None),
        ("1.5e-0000000000000000000001", None),
        ("1e30", None),
        ("-1e30", None),
        ("1.8446744073709552e19", None),
        ("0", None),
    ],
)
def test_integers_are_judged_as_they_are_written(
    number: str, expected: str | None, place: str, form: Form
) -> None:
    assert_judged(place % number, expected, form=form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize(
    "text",
    [
        '{"s":"@"}',
        '{"@":1}',
        '{"s":[":@,"]}',
        '{"s":"\\"@"}',
        '{"s":"\\\\","t":[":@,"]}',
        '{"s":["\\\\\\":@,\\\\"]}',
        '{"s":"\\u0022:@,","t":{}}',
        '{"s":"[[{\\"","t":["@}"]}',
        '{"é\\n":"\\t:@\\n","\N{SNOWMAN}":[]}',
    ],
)
def test_digits_in_strings_are_no_integers(text: str, sign: str, form: Form) -> None:
    assert_judged(text.replace("@", sign + "9" * 30), None, form=form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("string", ['"\\\\"', '"\\""', '"\\\\\\""', '"9\\u0022"', '"é\\\\"', '"]"'])
def test_an_integer_is_found_behind_strings_of_every_kind(string: str, form: Form) -> None:
    assert_judged(f'{{"s":[{string},{"9" * 20},{string}]}}', LARGE, form=form)
    assert_judged(f"{{{string}:{'9' * 20}}}", LARGE, form=form)
    assert_judged(f"{{{string}:[{'9' * 19}.0,{string}]}}", None, form=form)


def test_the_first_of_several_is_named() -> None:
    wrong = [client_text(f'{{"n":{n}}}').replace('"r"', f'"{n}"') for n in ("1e30", 2**70, 2**80)]
    refused = refusal(decode_client_batch, f"[{','.join(wrong)}]")
    assert refused is not None
    assert refused.request_id == str(2**70)
    # The same value as a float, which is none.
    same = [client_text(f'{{"n":{n}}}').replace('"r"', f'"{n}"') for n in ("1e20", 10**20)]
    refused = refusal(decode_client_batch, f"[{','.join(same)}]")
    assert refused is not None
    assert refused.request_id == str(10**20)


@pytest.mark.parametrize("action", ["JOIN_CHANNEL", "LEAVE_CHANNEL"])
@pytest.mark.parametrize("payload", ['{"n":18446744073709551616}', deep(64)])
def test_a_join_that_holds_too_much_is_refused_as_one(action: str, payload: str) -> None:
    text = client_text(f'{{"a":{payload}}}').replace("BROADCAST", action)
    refused = refusal(decode_client, text)
    assert refused is not None
    assert (refused.action, refused.request_id) == (ClientActions(action), "r")


@pytest.mark.parametrize("payload", ['{"n":18446744073709551616}', deep(64)])
def test_a_ping_is_looked_at_as_well(payload: str) -> None:
    text = f'{{"action":"ping","requestId":"p","more":{payload}}}'
    for data in (text, f"[{text}]"):
        refused = refusal(decode_client_batch, data)
        assert refused is not None
        assert refused.request_id == "p"


# --- depth --------------------------------------------------------------------------------------


def turns(levels: int) -> str:
    """Objects and arrays by turns."""
    text = "[]"
    for level in range(1, levels):
        text = f"[{text}]" if level % 2 else f'{{"k":{text}}}'
    return text


SHAPES: Final = {
    "arrays": deep,
    "objects": lambda n: '{"":' * (n - 1) + "{}" + "}" * (n - 1),
    "turns": turns,
    "wide": lambda n: "[[],{}," * (n - 1) + "[]" + "]" * (n - 3) + ",[{}]]" * 2,
    "among many": lambda n: "[" + "[],{}," * 500 + deep(n - 1) + ",{}" * 500 + "]",
    "a hill before": lambda n: f"[{deep(9)},{deep(n - 1)}]",
    "brackets in strings": lambda n: '["]]]}}}","[[[{{{","\\"]",' * (n - 1) + "[]" + "]" * (n - 1),
    "brackets in keys": lambda n: '{"}]\\"}\\\\":' * (n - 1) + "[]" + "}" * (n - 1),
    "strings side by side": lambda n: "[" * n + '"]","","]","[","","\\\\"' + "]" * n,
    "spaces": lambda n: "[ \n" * n + " ]\t" * n,
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("levels", [61, 62, 63, 64])
def test_the_64th_level_is_the_last(levels: int, shape: Callable[[int], str], form: Form) -> None:
    # The envelope and the payload are two of the 64.
    assert_judged(f'{{"k":{shape(levels)}}}', None if levels <= 62 else DEEP, form=form)


@pytest.mark.parametrize("opening", range(8))
@pytest.mark.parametrize("levels", [61, 62, 63])
def test_depth_is_found_wherever_it_begins(levels: int, opening: int) -> None:
    # Brackets are taken eight at a time.
    before = "[]," * (opening // 2) + '"",' * opening
    text = f"[{before}{deep(levels - 1)}]"
    assert_judged(f'{{"k":[],"l":{text}}}', None if levels <= 62 else DEEP)
    assert_judged(f'{{"k":[{{}},{text[1:]}}}', None if levels <= 62 else DEEP)


def test_an_array_may_hold_as_many_messages_as_it_may_of_full_depth() -> None:
    text = client_text(f'{{"k":{deep(62)}}}')
    assert len(decode_client_batch(f"[{','.join([text] * MAX_BATCH)}]")) == MAX_BATCH


@pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
@pytest.mark.parametrize("levels", [65, 500, 1_000, 1_023, 100_000])
def test_depth_beyond_what_can_be_parsed_is_refused(decode: Decode, levels: int) -> None:
    for text in (deep(levels), '{"":' * levels + "0" + "}" * levels):
        assert refusal(decode, text) is not None
        assert refusal(decode, client_text(f'{{"k":{text}}}')) is not None
        assert refusal(decode, "[" + client_text(f'{{"k":{text}}}') + "]") is not None


# --- both, at random ----------------------------------------------------------------------------

_numbers: st.SearchStrategy[str] = st.sampled_from(
    ["1e30", "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1e19",
     "99999999999999999999.5", "0.99999999999999999999", "123456789012345678", "7"]
) | st.integers(-(2**66), 2**66).map(str)  # fmt: skip
_strings: st.SearchStrategy[str] = st.text('[]{}\\",:9é', max_size=30).map(json.dumps)
_texts: st.SearchStrategy[str] = st.recursive(
    _numbers | _strings | st.just("null"),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: "[" + ",".join(items) + "]")
        | st.dictionaries(_strings, inner, max_size=4).map(
            lambda fields: "{" + ", ".join(f"{k} :{v}" for k, v in fields.items()) + "}"
        )
        | st.tuples(st.integers(50, 66), inner).map(lambda it: "[" * it[0] + it[1] + "]" * it[0])
    ),
    max_leaves=20,
)


@more
@given(_texts, st.sampled_from([str, str.encode]))
def test_any_value_is_judged_as_token_by_token(text: str, form: Form) -> None:
    payload = f'{{"k":{text}}}'
    assert_judged(payload, fault(client_text(payload)), form=form)


def walk(steps: random.Random, length: int, height: int) -> str:
    """Brackets nested at random, never deeper than that and often nearly so."""
    closers: list[str] = []
    parts: list[str] = []
    for _ in range(length):
        if not closers or (steps.random() < 0.6 and len(closers) < height):
            opener, closer = steps.choice([("[", "]"), ('{"k":[', "]}")])
            if len(closers) + len(opener) > height and len(opener) > 1:
                opener, closer = "[", "]"
            comma = "," if parts and parts[-1][-1] in "]}" else ""
            parts.append(comma + opener)
            closers.extend(reversed(closer))
        else:
            parts.append(closers.pop())
            if parts[-1] == "]" and closers and closers[-1] == "}":
                parts.append(closers.pop())
    return "[" + "".join(parts) + "".join(reversed(closers)) + "]"


@pytest.mark.parametrize("height", [59, 60, 61, 62, 63])
@pytest.mark.parametrize("seed", range(10))
def test_brackets_at_random_are_judged_as_token_by_token(seed: int, height: int) -> None:
    payload = f'{{"k":{walk(random.Random(seed), 3_000, height)}}}'
    orjson.loads(payload)
    assert_judged(payload, fault(client_text(payload)))


# --- what a later field of the same name replaces -----------------------------------------------


@pytest.mark.parametrize("replaced", ["18446744073709551616", deep(70)])
@pytest.mark.parametrize("rest", ["", ',"b":[]'])
def test_what_is_replaced_may_be_refused_and_is_never_passed_on(replaced: str, rest: str) -> None:
    text = client_text(f'{{"a":{replaced},"a":1{rest}}}')
    for decode, data in ((decode_client, text), (decode_client_batch, f"[{text}]")):
        if (refused := refusal(decode, data)) is not None:
            assert refused.request_id == "r"
        else:
            message: Any = decode(data)
            (message,) = message if isinstance(message, list) else (message,)
            assert message.payload["a"] == 1


# --- an event that is refused in any case -------------------------------------------------------


@pytest.mark.parametrize("payload", ['{"n":18446744073709551616}', f'{{"n":{deep(64)}}}'])
def test_of_an_event_that_is_refused_anyway_only_the_envelope_is_judged(payload: str) -> None:
    text = client_text(payload)
    for data in (text, text.replace('"payload"', '"unknown":1,"payload"')):
        for decode in (decode_client, decode_client_batch):
            decode(data, refuses_events=True)
            assert (
                refusal(partial(decode, refuses_events=True), data.replace("/c", "c")) is not None
            )
            join = data.replace("BROADCAST", "JOIN_CHANNEL")
            assert refusal(partial(decode, refuses_events=True), join) is not None
    join = text.replace("BROADCAST", "JOIN_CHANNEL")
    assert refusal(partial(decode_client_batch, refuses_events=True), f"[{join}]") is not None
    decode_client_batch(f"[{join},{text}]", refuses_events=True)


# --- what it costs ------------------------------------------------------------------------------


def filled(unit: str, size: int = 65_000) -> str:
    units = ",".join([unit] * (size // (len(unit) + 1)))
    return client_text(f'{{"a":[{units}]}}')


# Beside the time to parse 64 KiB of the same, which is where the most expensive of them lie.
EXPENSIVE: Final = [
    *("{}", "[]", "[{}]", "[[]]", "[0]", '{"":0}', '{"":{}}', "0", "1e30", "null"),
    *('""', '"ab"', '"\\\\"', '"\\""', '"]"', deep(8), deep(61)),
    *("9" * 18, "9" * 19, "18446744073709551615", "-9223372036854775808", '"' + "9" * 19 + '"'),
    *("0.1234567890123456789", "1e0000000000000000001", "18446744073709551615,{}"),
]


def spent(work: Callable[[], object]) -> float:
    """The least CPU time of several tries, in seconds."""
    times = []
    for _ in range(5):
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return min(times)


@pytest.mark.parametrize("unit", EXPENSIVE, ids=lambda unit: unit[:12])
def test_no_text_costs_much_more_to_judge_than_the_dearest_costs_to_parse(unit: str) -> None:
    # Typically it is at most 1.3 times what the dearest text costs, and was 4 to 8 times.
    dearest = filled(deep(61)).encode()
    text = filled(unit).encode()
    assert spent(partial(decode_client, text)) < 2.5 * spent(partial(orjson.loads, dearest))
