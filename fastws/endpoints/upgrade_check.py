"""POST to the path of a WebSocket: says whether an upgrade would be admitted, and if not, why."""

from __future__ import annotations

from typing import Final

from fastws.admission.gate import Gate
from fastws.endpoints.answers import error_response
from fastws.endpoints.application import Application
from fastws.endpoints.bodies import read_object
from fastws.errors import BadRequest, FastWSError
from fastws.wire.request import Request
from fastws.wire.response import Response

# The same as for the head of an upgrade request.
MAX_BODY_BYTES: Final = 16_384
# Pages of all origins may read the answer: it contains what a client without a browser gets as answer to its upgrade.
_READABLE: Final = (("Access-Control-Allow-Origin", "*"), ("Cache-Control", "no-store"))


class UpgradeCheck:
    """Browsers hide the response to a refused upgrade from the page, so the browser client asks for it here.

    The body is `{"protocols": […]}`, the subprotocols of the upgrade. The answer is 204, or the error with which the
    gate refuses such an upgrade now. The event hook is not asked. A refusal here is neither counted nor logged: that of
    the upgrade was.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def may_read(self, application: Application, request: Request, address: str) -> bool:
        """Whether the body is small enough for this endpoint, by its Content-Length."""
        length = request.header("content-length") or ""
        return length.isascii() and length.isdigit() and len(length) < 6 and int(length) <= MAX_BODY_BYTES

    async def __call__(self, application: Application, request: Request, *, address: str, **_: str) -> Response:
        try:
            upgrade = _upgrade(request)
            if not self._gate.may_admit(upgrade):
                await self._gate.admission_turn(upgrade)
            self._gate.admit(upgrade, address)
        except FastWSError as error:
            refusal = error_response(error)
            return Response(refusal.status, refusal.body, tuple({**dict(refusal.headers), **dict(_READABLE)}.items()))
        return Response(204, b"", _READABLE)


def _upgrade(request: Request) -> Request:
    """Return the upgrade request that the browser has sent or would send. Raises BadRequest."""
    protocols = read_object(request).get("protocols")
    if not isinstance(protocols, list) or not all(isinstance(name, str) for name in protocols):
        raise BadRequest("`protocols` must be a list of strings")
    headers = {**request.headers, "sec-websocket-protocol": ", ".join(protocols)}
    return Request("GET", request.target, "1.1", headers, is_upgrade=True, is_proxied=request.is_proxied, is_plain=True)
