"""The kinds of handlers: the arguments of each, and what is done with its return value."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

from pondsocket_common import dump_model
from pydantic import BaseModel

from pondsocket._contexts import (
    ConnectionContext,
    DisconnectContext,
    EventContext,
    GatewayContext,
    JoinContext,
    LeaveContext,
    SyncDisconnectContext,
    SyncEventContext,
    SyncGatewayContext,
    SyncJoinContext,
    SyncLeaveContext,
)
from pondsocket._contexts.decision import DONE
from pondsocket._errors import PondError
from pondsocket._log import about, get_log
from pondsocket._signatures.parameters import Kind
from pondsocket._state.lifecycle import Admission

_log: Final = get_log("pondsocket.handlers")


async def _reply(ctx: EventContext, returned: object) -> None:
    if isinstance(returned, PondError):
        raise returned
    if isinstance(returned, BaseModel):
        returned = dump_model(returned)  # of a RootModel: any type
    if not isinstance(returned, Mapping):
        returned = {"result": returned}
    await ctx.reply(ctx.event_name, returned)


async def _accept(ctx: JoinContext, returned: object) -> None:
    if isinstance(returned, PondError):
        raise returned
    if ctx.decision.state is Admission.PENDING:
        await ctx.accept(response=returned)
    else:
        _log.warning(
            "A join handler returned a value after it had decided; it is not sent (channel=%r).",
            ctx.channel.name,
            extra=about(ctx.session, channel=ctx.channel.name, event="JOIN"),
        )


async def _fail_or_ignore(ctx: object, returned: object) -> None:
    if returned is DONE:  # of `lambda ctx: ctx.accept()`
        return
    if isinstance(returned, PondError):
        raise returned
    _log.warning(
        "A returned value was dropped: handlers with a %s have no reply.", type(ctx).__name__
    )


def _connection_params(ctx: ConnectionContext) -> Mapping[str, str]:
    return ctx.params


def _scope_of(ctx: ConnectionContext) -> dict[str, Any]:
    """Return a copy of the scope, to which its reader may add. Without ASGI, make one."""
    request = ctx.request
    made = {
        "type": "websocket" if request.transport == "websocket" else "http",
        "path": request.path,
        "root_path": "",
        "query_string": urlencode(
            [(name, value) for name in request.query for value in request.query.getall(name)]
        ).encode(),
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name in request.headers
            for value in request.headers.getall(name)
        ],
    }
    return dict(ctx.scope) if "type" in ctx.scope else {**made, **ctx.scope}


def _event_params(ctx: EventContext) -> Mapping[str, str]:
    return {**ctx.outer_params, **ctx.route.params}


CONNECTION: Final = Kind[ConnectionContext](
    name="connection",
    context=ConnectionContext,
    # Its methods do not wait, so plain handlers get the same class.
    sync_type=ConnectionContext,
    sync_context=lambda ctx: ctx,
    params=_connection_params,
    fields=lambda ctx: ctx.query,
    finish=_fail_or_ignore,
    place=lambda ctx: (ctx.environment, ctx),
    abandon=True,
    scope=_scope_of,
)
JOIN: Final = Kind[JoinContext](
    name="join",
    context=JoinContext,
    sync_type=SyncJoinContext,
    sync_context=SyncJoinContext,
    params=lambda ctx: ctx.route.params,
    fields=lambda ctx: ctx.join_params,
    finish=_accept,
    is_answered=lambda ctx: ctx.decision.state is not Admission.PENDING,
    has_response=True,
    place=lambda ctx: (ctx.session.environment, ctx.session),
    abandon=True,
)
EVENT: Final = Kind[EventContext](
    name="event",
    context=EventContext,
    sync_type=SyncEventContext,
    sync_context=SyncEventContext,
    params=_event_params,
    fields=lambda ctx: ctx.get_payload(),
    finish=_reply,
    is_answered=lambda ctx: ctx.has_replied(),
    has_response=True,
    place=lambda ctx: (ctx.session.environment, ctx.session),
)
# All that holds for events of a channel holds for those of an endpoint.
GATEWAY_EVENT: Final = replace(
    EVENT,
    name="endpoint's event",
    context=GatewayContext,
    sync_type=SyncGatewayContext,
    sync_context=SyncGatewayContext,
)
LEAVE: Final = Kind[LeaveContext](
    name="leave",
    context=LeaveContext,
    sync_type=SyncLeaveContext,
    sync_context=SyncLeaveContext,
    params=lambda ctx: ctx.channel.params,
    fields=None,
    finish=_fail_or_ignore,
    # The connection has ended; all leaves of one user use one share of the threads.
    place=lambda ctx: (ctx.channel.owner.environment, ctx.user.id),
    patient=True,
)
DISCONNECT: Final = Kind[DisconnectContext](
    name="disconnect",
    context=DisconnectContext,
    sync_type=SyncDisconnectContext,
    sync_context=SyncDisconnectContext,
    params=lambda ctx: ctx.params,
    fields=None,
    finish=_fail_or_ignore,
    place=lambda ctx: (ctx.environment, ctx.user.id),  # as of a leave
    patient=True,
)
