"""Return types as response models: what is sent is what the type declares, and nothing else."""

import threading
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import partial, wraps
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, Never, TypeVar

import anyio.lowlevel
import pytest
from pondsocket import (
    Depends,
    EventContext,
    Handler,
    JoinContext,
    Next,
    PondError,
    SyncEventContext,
    UsageError,
)
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged, Fault, Refused
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    computed_field,
    field_serializer,
)
from typing_extensions import TypeAliasType, TypedDict

from tests.core.members import events, member
from tests.core.ponds import ROOM, build, error_records
from tests.core.typed_handlers import ask, fault, lobby, result

if TYPE_CHECKING:  # as many a linter moves imports

    class Later(BaseModel):
        name: str


PASSWORD = "hunter2"
T = TypeVar("T")


class Public(BaseModel):
    name: str


class User(Public):
    password: str = PASSWORD


class Row:
    """An object of a database: no model, and with more than what is declared."""

    def __init__(self, name: str = "ann") -> None:
        self.name = name
        self.password = PASSWORD
        self.joined_on = date(2026, 11, 30)


class Team(BaseModel):
    lead: Public
    others: list[Public] = []


class Page(BaseModel, Generic[T]):
    items: list[T]


class Members(RootModel[list[Public]]):
    pass


class Dated(BaseModel):
    joined_on: date = Field(alias="joinedOn")


class Shown(BaseModel):
    name: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def greeting(self) -> str:
        return f"Hello {self.name}"


@dataclass
class Point:
    x: int


@dataclass
class SecretPoint(Point):
    password: str = PASSWORD


class Card(TypedDict):
    name: str


class Pair(NamedTuple):
    first: int
    second: int


class Node(BaseModel):
    name: str
    inner: "Node | None" = None


Answer = TypeAliasType("Answer", Public | PondError)
ANN = User(name="ann")
SHOWN = {"name": "ann"}


def returning(hint: Any, value: object) -> Handler:
    """Return an event handler that is annotated so, and returns the value."""

    async def handler(ctx: EventContext) -> Any:
        return value

    handler.__annotations__["return"] = hint
    return handler


@pytest.mark.parametrize(
    ("hint", "returned", "sent"),
    [
        (Public, ANN, SHOWN),
        (Public, Public(name="ann"), SHOWN),
        (Public, Row(), SHOWN),
        (Public, {"name": "ann", "password": PASSWORD}, SHOWN),
        ("Public", ANN, SHOWN),
        (Public | None, ANN, SHOWN),
        (Annotated[Public, "what others see"], ANN, SHOWN),
        (Public | PondError, ANN, SHOWN),
        (Public | PondError | None, Row(), SHOWN),
        (Answer, ANN, SHOWN),
        (Point | Public, ANN, SHOWN),
        (Point | Public, SecretPoint(1), {"x": 1}),
        (list[Public], [ANN, Row("bob")], {"result": [SHOWN, {"name": "bob"}]}),
        (Sequence[Public], (ANN,), {"result": [SHOWN]}),
        (tuple[Public, int], (ANN, 1), {"result": [SHOWN, 1]}),
        (dict[str, Public], {"a": ANN}, {"a": SHOWN}),
        (Mapping[int, Public], {1: ANN}, {"1": SHOWN}),
        (Team, Team(lead=ANN, others=[ANN]), {"lead": SHOWN, "others": [SHOWN]}),
        (Team, {"lead": Row(), "others": [ANN]}, {"lead": SHOWN, "others": [SHOWN]}),
        (Team, Team.model_construct(lead=Row()), {"lead": SHOWN, "others": []}),
        (Page[Public], Page[User](items=[ANN]), {"items": [SHOWN]}),
        (Page[Public], Page(items=[ANN]), {"items": [SHOWN]}),
        (Members, [ANN], {"result": [SHOWN]}),
        (Members, Members([ANN]), {"result": [SHOWN]}),
        (Dated, Row(), {"joinedOn": "2026-11-30"}),
        (Dated, {"joined_on": "2026-11-30"}, {"joinedOn": "2026-11-30"}),
        (Dated, {"joinedOn": date(2026, 11, 30)}, {"joinedOn": "2026-11-30"}),
        (Shown, Row(), {"name": "ann", "greeting": "Hello ann"}),
        (Point, SecretPoint(1), {"x": 1}),
        (Point, {"x": 1, "y": 2}, {"x": 1}),
        (Card, {"name": "ann", "password": PASSWORD}, SHOWN),
        (list[Card], [{"name": "ann", "password": PASSWORD}], {"result": [SHOWN]}),
        (Pair, Pair(1, 2), {"result": [1, 2]}),
        (Node, Node(name="a", inner=Node(name="b")), {
            "name": "a", "inner": {"name": "b", "inner": None},
        }),
        (int, 5, {"result": 5}),
        (str, "x", {"result": "x"}),
        (Literal["a", "b"], "a", {"result": "a"}),
        (date, date(2026, 11, 30), {"result": "2026-11-30"}),
        (Decimal, Decimal("1.50"), {"result": "1.50"}),
        (set[int], {1}, {"result": [1]}),
        (Annotated[int, Field(gt=1)], 2, {"result": 2}),
        (Annotated[dict[str, Any], AfterValidator(lambda _: {"a": 1})], {}, {"a": 1}),
    ],
    ids=repr,
)  # fmt: skip
async def test_the_declared_fields_alone_are_sent(
    hint: Any, returned: object, sent: object
) -> None:
    answer = await ask(returning(hint, returned))
    assert (answer.action, answer.event, answer.payload) == ("SYSTEM", "ask", sent)
    assert PASSWORD not in str(answer)


@pytest.mark.parametrize(
    "hint",
    [Any, object, dict, dict[str, Any], dict[str, object], Mapping[str, Any],
     dict[str, Any] | None, dict[str, Any] | PondError, Annotated[Mapping[str, object], "any"]],
    ids=repr,
)  # fmt: skip
async def test_what_says_nothing_about_the_fields_is_sent_as_it_is(hint: Any) -> None:
    answer = await ask(returning(hint, {"name": "ann", "rows": [ANN]}))
    assert answer.payload == {"name": "ann", "rows": [ANN.model_dump()]}


@pytest.mark.parametrize(
    ("hint", "returned", "says"),
    [
        (Public, {"nome": PASSWORD}, "does not fit `-> Public`: name: Field required"),
        (Public, PASSWORD, "does not fit `-> Public`: it: Input should be"),
        (Team, {"lead": ANN, "others": [ANN, {}]}, "others.1.name: Field required"),
        (list[Team], [1], "does not fit `-> list[Team]`: 0: Input should be a valid"),
        (list[Public] | dict[str, Public] | PondError, 5, "dict[str, Public]"),
        (list[int], [1, PASSWORD], "1: Input should be a valid integer"),
        (Public | PondError, 5, "does not fit `-> Public`"),
        (str, 5, "does not fit `-> str`"),
        (Card, Row(), "does not fit `-> Card`"),
        (dict[str, int], {PASSWORD[:3]: PASSWORD}, "does not fit `-> dict[str, int]`"),
        (list[int], ["x"] * 11, "unable to parse string as an integer; …"),
    ],
    ids=repr,
)  # fmt: skip
async def test_what_does_not_fit_is_500_and_the_log_says_where(
    hint: Any, returned: object, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await fault(returning(hint, returned))
    assert (answer.code, answer.message) == (500, "The server failed to handle this.")
    (record,) = error_records(caplog)
    assert record.getMessage().startswith("An event handler failed (channel='/room/1' event='ask'")
    assert "channel '/room/:id', event 'ask', handler: what it has returned" in caplog.text
    assert says in caplog.text
    assert PASSWORD not in caplog.text


class Loose(BaseModel):
    name: str
    more: Any = None


class Either(BaseModel):
    one: Point | Public


class Odd(BaseModel):
    name: str

    @field_serializer("name")
    def write(self, value: str) -> str:
        raise LookupError(value)


@pytest.mark.parametrize(
    ("hint", "returned", "key"),
    [
        (Loose, Loose(name="a", more=object()), "(at Loose.more)"),
        (list[Loose], [Loose(name="a", more={"b": [object()]})], "(at list[0].more.b[0])"),
        (Loose, Loose(name="a", more=float("nan")), "more is NaN"),
        (Loose, Loose(name="a", more=b"\xff"), "(at Loose.more)"),
        (float, float("inf"), "result is NaN or infinite"),
        (int, 2**64, "at result"),
        (Public, Public.model_construct(name=5), "field_name='name'"),
        # Of another type than declared: pydantic would write it with all that it has.
        (Public, Public.model_construct(name=ANN), "Expected `str`"),
        (Either, Either.model_construct(one=Loose(name="a", more=1)), "Expected `Point`"),
        (Odd, Odd(name="a"), "LookupError: a"),
    ],
    ids=repr,
)
async def test_what_cannot_be_written_is_500_and_the_log_names_the_key(
    hint: Any, returned: object, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await fault(returning(hint, returned))
    assert (answer.code, answer.message) == (500, "The server failed to handle this.")
    assert key in caplog.text
    assert PASSWORD not in f"{answer} {caplog.text}"


@pytest.mark.parametrize("hint", [None, Never, PondError, PondError | None], ids=repr)
async def test_a_handler_that_returns_nothing_sends_nothing_and_says_so_once(
    hint: Any, caplog: pytest.LogCaptureFixture
) -> None:
    setup = build()
    setup.lobby.on_message("silent", returning(hint, {"password": PASSWORD}))
    async with member(setup, "ann") as ann:
        for name in ("silent", "silent", "say"):
            ann.send("BROADCAST", ROOM, name)
        await ann.receive_event("say")
        assert events(ann) == []
    assert caplog.text.count("has returned a value, which is not sent, because of `-> None`") == 1
    assert "event 'silent', handler" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("hint", [None, Any, Public, Answer, PondError, PondError | None])
async def test_a_returned_pond_error_is_an_error_whatever_is_declared(hint: Any) -> None:
    answer = await fault(returning(hint, PondError("Sold out.", 409)))
    assert (answer.error, answer.code, answer.message) == ("CHANNEL_ERROR", 409, "Sold out.")


async def test_none_is_no_reply_where_it_is_declared() -> None:
    setup = build()
    for name, hint in (("a", Public | None), ("b", Any), ("c", Literal["x", None])):
        setup.lobby.on_message(name, returning(hint, None))
    async with member(setup, "ann") as ann:
        for name in ("a", "b", "c", "say"):
            ann.send("BROADCAST", ROOM, name)
        await ann.receive_event("say")
        assert events(ann) == []


async def test_none_where_a_reply_is_declared_is_500(caplog: pytest.LogCaptureFixture) -> None:
    async def typed(ctx: EventContext, name: str = "ann") -> Public:
        return None  # type: ignore[return-value]

    for handler in (returning(Public, None), typed):
        assert (await fault(handler)).code == 500
    assert (
        caplog.text.count("it has returned None, and says `-> Public`; write `-> Public | None`")
        == 2
    )


async def test_none_after_a_reply_is_fine(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ctx: EventContext) -> Public:
        await ctx.reply("early", {"a": 1})
        return None  # type: ignore[return-value]

    assert (await ask(handler)).event == "early"
    assert error_records(caplog) == []


# --- forms of handlers ------------------------------------------------------------------------


class Board:
    async def method(self, ctx: EventContext) -> Public:
        return ANN

    @classmethod
    async def of_class(cls, ctx: EventContext) -> Public:
        return ANN

    @staticmethod
    async def static(ctx: EventContext) -> Public:
        return ANN

    def plain(self, ctx: SyncEventContext) -> Public:
        return ANN

    async def __call__(self, ctx: EventContext, name: str = "") -> "Public":
        return ANN


class Called:
    def __call__(self, ctx: Any) -> Public:
        return ANN


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def coroutine() -> User:
    await anyio.lowlevel.checkpoint()
    return ANN


def handed_on(ctx: Any) -> Coroutine[Any, Any, Public]:
    return coroutine()


def awaitable(ctx: Any) -> Awaitable[Public]:
    return coroutine()


async def by_name(*, more: int = 1, ctx: EventContext) -> Public:
    await anyio.lowlevel.checkpoint()
    return ANN


async def loosely(ctx: Any) -> Public:
    return ANN


def plain_by_name(name: str = "ann") -> Public:
    return User(name=name)


def plain_database() -> Iterator[Row]:
    yield Row()


async def async_database() -> AsyncIterator[Row]:
    yield Row()


async def of_plain(row: Annotated[Row, Depends(plain_database)]) -> Public:
    return row  # type: ignore[return-value]


def plain_of_async(row: Annotated[Row, Depends(async_database)]) -> Public:
    return row  # type: ignore[return-value]


def plain_of_plain(row: Annotated[Row, Depends(plain_database)]) -> Public:
    return row  # type: ignore[return-value]


@pytest.mark.parametrize(
    "handler",
    [Board().method, Board.of_class, Board.static, Board().plain, Board(), Called(), by_name,
     partial(by_name, more=2), decorated(loosely), decorated(plain_by_name), handed_on, awaitable,
     plain_by_name, of_plain, plain_of_async, plain_of_plain],
    ids=repr,
)  # fmt: skip
async def test_every_form_of_handler_has_a_response_model(handler: Handler) -> None:
    assert (await ask(handler)).payload == SHOWN


class Made(BaseModel):
    """A class as a handler: what it returns is what it makes."""

    name: str = "ann"


@pytest.mark.parametrize(
    "handler",
    [
        Made,
        partial(Made),
        lambda ctx: {"name": "ann"},
        partial(lambda name, ctx: {"name": name}, "ann"),
    ],
)
async def test_without_an_annotation_all_is_sent(handler: Handler) -> None:
    assert (await ask(handler)).payload == SHOWN


async def test_an_event_of_the_endpoint_and_middleware_around_it() -> None:
    setup = build()

    async def changes(ctx: EventContext, next: Next) -> object:  # noqa: A002
        await next()
        return {"password": PASSWORD}

    setup.endpoint.on_message("me", returning(Public, ANN), changes)
    async with connect(setup.pond, "/socket") as ann:
        answer = await ann.answer(ann.send("BROADCAST", "GATEWAY", "me"))
        assert (answer.event, answer.payload) == ("me", SHOWN)


async def test_one_reply_per_request_stays(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ctx: EventContext) -> Public:
        await ctx.reply("first")
        return ANN

    assert (await ask(handler)).event == "first"
    assert "replied twice" in caplog.text


# --- where it is read -------------------------------------------------------------------------


class Lazy:
    """A row that asks its database when it is read."""

    def __init__(self, log: list[str]) -> None:
        self._log = log
        self._thread = threading.get_ident()

    @property
    def name(self) -> str:
        is_same = self._thread == threading.get_ident()
        self._log.append("read" if is_same else "read elsewhere")
        return "ann"


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("form", ["plain", "async"])
async def test_it_is_read_while_the_dependencies_are_there_and_in_the_handlers_thread(
    form: str, mixed: bool
) -> None:
    log: list[str] = []

    def database() -> Iterator[Callable[[], Any]]:
        yield lambda: Lazy(log)
        log.append("closed")

    async def other() -> None:
        await anyio.lowlevel.checkpoint()

    second = Depends(other if mixed else lambda: None)

    def plain(make: Any = Depends(database), _: None = second) -> Public:
        row: Public = make()
        return row

    async def waits(make: Any = Depends(database), _: None = second) -> Public:
        row: Public = make()
        return row

    assert (await ask(plain if form == "plain" else waits)).payload == SHOWN
    assert log == ["read", "closed"]


async def test_a_dependency_sees_that_the_value_does_not_fit() -> None:
    log: list[str] = []

    async def database() -> AsyncIterator[str]:
        try:
            yield "db"
        except UsageError:
            log.append("rolled back")
            raise

    async def handler(db: Annotated[str, Depends(database)]) -> Public:
        return db  # type: ignore[return-value]

    assert (await fault(handler)).code == 500
    assert log == ["rolled back"]


async def test_an_override_of_a_dependency_keeps_the_response_model() -> None:
    setup = build()

    async def who() -> Row:
        return Row()

    async def handler(row: Annotated[Row, Depends(who)]) -> Public:
        return row  # type: ignore[return-value]

    setup.lobby.on_message("ask", handler)
    setup.pond.dependency_overrides[who] = lambda: User(name="bob")
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask"))
        assert answer.payload == {"name": "bob"}


# --- joins ------------------------------------------------------------------------------------


async def joined(handler: Handler) -> Acknowledged | Refused:
    async with connect(build(handler).pond, "/socket") as ann:
        payload = (await ann.join(ROOM)).payload
        assert isinstance(payload, Acknowledged | Refused)
        return payload


def joining(hint: Any, value: object) -> Handler:
    async def handler(ctx: JoinContext) -> Any:
        return value

    handler.__annotations__["return"] = hint
    return handler


@pytest.mark.parametrize(
    ("hint", "returned", "response"),
    [
        (Public, ANN, SHOWN),
        (Public, Row(), SHOWN),
        (list[Public], [ANN], [SHOWN]),
        (Public | None, ANN, SHOWN),
        (int, 5, 5),
        (Any, {"a": 1}, {"a": 1}),
    ],
    ids=repr,
)
async def test_a_join_is_accepted_with_the_declared_fields(
    hint: Any, returned: object, response: object
) -> None:
    assert await joined(joining(hint, returned)) == Acknowledged(response=response)


async def test_a_plain_join_handler_too() -> None:
    def join(id: int) -> Public:  # noqa: A002
        return ANN

    assert await joined(join) == Acknowledged(response=SHOWN)


@pytest.mark.parametrize("returned", [{}, None], ids=repr)
async def test_a_join_whose_response_does_not_fit_is_refused(
    returned: object, caplog: pytest.LogCaptureFixture
) -> None:
    refused = await joined(joining(Public, returned))
    assert refused == Refused(500, "The server failed to handle this.")
    assert "channel '/room/:id', handler: " in caplog.text
    assert "A join handler failed" in caplog.text


async def test_a_join_handler_that_returns_nothing_is_not_accepted_by_a_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = await joined(joining(None, {"password": PASSWORD}))
    assert isinstance(refused, Refused)
    assert refused.code == 401
    assert "which is not sent, because of `-> None`" in caplog.text


async def test_a_join_handler_may_decide_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def join(ctx: JoinContext) -> Public:
        await ctx.accept(response={"mine": True})
        return None  # type: ignore[return-value]

    assert await joined(join) == Acknowledged(response={"mine": True})
    assert error_records(caplog) == []


# --- at registration --------------------------------------------------------------------------


class Plain:
    pass


class Unfinished(BaseModel):
    later: "Later"


class Undocumented(BaseModel):
    model_config = ConfigDict(defer_build=True)
    name: str


@pytest.mark.parametrize(
    ("hint", "says"),
    [
        (Plain, "what it returns, `-> Plain`, cannot be written as JSON"),
        (list[Plain], "write a model, a dataclass or a TypedDict with the fields to be sent, or"),
        (Callable[[], int], "(it is a function)"),
        (Iterator[int], "cannot be written as JSON"),
        (AsyncIterator[int], "cannot be written as JSON"),
        (Awaitable[int], "collections.abc.Awaitable[int]); write a model,"),
        (Unfinished, "(it names 'Later', which is not there yet; define that one before the"),
        ("list[Later]", "its annotations name 'Later', which is not there at run time;"),
        ("Later", "at the top of the module, outside of `if TYPE_CHECKING`"),
        (Annotated[int, Field(pattern="[")], "cannot be written as JSON"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_type_that_cannot_be_sent_is_refused_with_what_to_write(hint: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        lobby().on_message("ask", returning(hint, None))
    assert str(caught.value).startswith("channel '/room/:id', event 'ask', handler: ")
    assert says in str(caught.value)


def test_a_generator_is_refused_as_ever() -> None:
    def handler(ctx: SyncEventContext) -> Iterator[Public]:
        yield ANN

    with pytest.raises(UsageError, match="it has a `yield`; a handler returns its reply"):
        lobby().on_message("ask", handler)


async def test_a_type_that_is_built_late_is_built_at_registration() -> None:
    assert (await ask(returning(Undocumented, Row()))).payload == SHOWN


async def test_a_validator_may_refuse_with_an_error_of_its_own() -> None:
    def refuse(value: object) -> object:
        raise PondError("Not yet.", 425)

    answer = await fault(returning(Annotated[Public, BeforeValidator(refuse)], ANN))
    assert (answer.code, answer.message) == (425, "Not yet.")


async def test_one_value_at_a_time_is_converted() -> None:
    assert await result(returning(int, "5")) == 5
    assert await result(returning(float, 3)) == 3.0


async def test_leave_and_connection_handlers_have_no_response(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = build()

    @setup.lobby.on_leave
    async def leave(ctx: object) -> Plain:
        return Plain()

    async with member(setup, "ann") as ann:
        assert isinstance(ann, MemoryPeer)
    assert "handlers with a LeaveContext have no reply" in caplog.text


async def test_a_fault_is_bounded_for_many_misfits() -> None:
    answer = await fault(returning(list[int], ["x"] * 100_000))
    assert isinstance(answer, Fault)
    assert answer.code == 500
