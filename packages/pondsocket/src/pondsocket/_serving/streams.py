"""The requests of event streams' clients: each is for a stream here, or on another node."""

from collections.abc import Mapping
from typing import Any, Final

from pondsocket_common import CloseCode

from pondsocket._connection.session import Session
from pondsocket._environment import Environment
from pondsocket._errors import PondError
from pondsocket._log import get_log
from pondsocket._state.request import ConnectRequest, Refusal

from .endpoints import Endpoints

_log: Final = get_log("pondsocket.endpoint")
_NOT_FOUND: Final = Refusal(404, "NOT_FOUND", "Connection not found.")
_CLOSED_BY_CLIENT: Final = "Closed by the client."
# What two nodes can compare.
_COMPARABLE: Final = (str, int, bytes, type(None))


class Streams:
    """Finds the stream that a request belongs to.

    A request must have the exact path at which the stream was opened, and its identity. The answer
    is the same for an unknown id, another path, transport or identity: it must not reveal which.
    """

    def __init__(self, endpoints: Endpoints, environment: Environment) -> None:
        self._endpoints = endpoints
        self._environment = environment

    def may_find(self, connection_id: str, request: ConnectRequest) -> bool:
        """Return whether there may be such a stream. False for an id that no node has made."""
        if self._find(connection_id, request.path) is not None:
            return True
        cluster = self._environment.cluster
        return cluster is not None and cluster.node_of(connection_id) is not None

    async def post(
        self, connection_id: str, request: ConnectRequest, body: bytes | Refusal
    ) -> Refusal | None:
        """Accept what a client sends to its stream. None: it is accepted.

        Args:
            body: A refusal if the transport refused it, which counts like any other.
        """
        found = await self.find_session(connection_id, request)
        if isinstance(found, Refusal):
            return found
        if found is not None:
            return found.post(body)
        if self._find(connection_id, request.path) is not None:
            return _NOT_FOUND  # it is another client's
        if isinstance(body, Refusal):
            return body if self.may_find(connection_id, request) else _NOT_FOUND
        return await self._ask("post", connection_id, request, body.decode("latin-1"))

    async def end(self, connection_id: str, request: ConnectRequest) -> Refusal | None:
        """Close a stream, as its client asks. None: it is closed."""
        found = await self.find_session(connection_id, request)
        if isinstance(found, Refusal):
            return found
        if found is not None:
            found.close(CloseCode.NORMAL, _CLOSED_BY_CLIENT)
            return None
        if self._find(connection_id, request.path) is not None:
            return _NOT_FOUND  # it is another client's
        return await self._ask("end", connection_id, request)

    def _find(self, connection_id: str, path: str) -> Session | None:
        endpoint = self._endpoints.find(path)
        session = endpoint.sessions.get(connection_id) if endpoint is not None else None
        if session is None or session.path != path or session.request.transport != "sse":
            return None
        return session

    async def find_session(
        self, connection_id: str, request: ConnectRequest
    ) -> Session | Refusal | None:
        """Return the open stream of this node with this secret id, if the request may use it.

        Returns:
            None if there is no such stream here; a Refusal if the request's identity could not be
            determined.
        """
        session = self._find(connection_id, request.path)
        if session is None:
            return None
        identity = await self._identify(request)
        if isinstance(identity, Refusal):
            return identity
        return session if identity == session.identity and session.is_open else None

    async def _identify(self, request: ConnectRequest) -> object:
        endpoint = self._endpoints.find(request.path)
        return None if endpoint is None else await endpoint.admission.identify(request)

    # --- between nodes ------------------------------------------------------------------------

    async def _ask(
        self, do: str, connection_id: str, request: ConnectRequest, body: str = ""
    ) -> Refusal | None:
        """Ask the node that has the stream."""
        cluster = self._environment.cluster
        node = None if cluster is None else cluster.node_of(connection_id)
        if cluster is None or node is None:
            return _NOT_FOUND
        identity = await self._identify(request)
        if isinstance(identity, Refusal):
            return identity
        if type(identity) not in _COMPARABLE:
            _log.error(
                "With several nodes, `identity` returns a str, an int, bytes or None, not %s: a"
                " request that arrives at another node cannot be compared (path=%r).",
                type(identity).__name__,
                request.path,
            )
            return _NOT_FOUND
        question = {
            "do": do,
            "id": connection_id,
            "path": request.path,
            "identity": _as_json(identity),
            "body": body,
        }
        try:
            answer = await cluster.ask(node, question)
        except PondError:
            text = "The server that has this stream does not answer."
            return Refusal(503, "UNAVAILABLE", text, retry_after=1)
        if answer is None:
            return _NOT_FOUND
        return Refusal(**answer) if answer else None

    def answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer another node's request for a stream here: nothing, or a refusal."""
        session = self._find(question["id"], question["path"])
        is_its = session is not None and _as_json(session.identity) == question["identity"]
        if session is None or not is_its or not session.is_open:
            refusal: Refusal | None = _NOT_FOUND
        elif question["do"] == "post":
            refusal = session.post(question["body"].encode("latin-1"))
        else:
            session.close(CloseCode.NORMAL, _CLOSED_BY_CLIENT)
            refusal = None
        if refusal is None:
            return {}
        return {
            "status": refusal.status,
            "error": str(refusal.error),
            "message": refusal.message,
            "retry_after": refusal.retry_after,
        }


def _as_json(identity: object) -> object:
    """Return an identity in a form that tells a text from a number, and from bytes."""
    if isinstance(identity, bytes):
        return ["bytes", identity.hex()]
    return [type(identity).__name__, None if identity is None else str(identity)]
