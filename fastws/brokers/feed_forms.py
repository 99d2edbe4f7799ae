"""The feeds: Redis channels on which existing backends publish and subscribe in their own formats.

fastws publishes in the same formats, with one more key, `_fastws`, for the fields that only its own processes need
(sender, exclude, …). They restore the publication from both. `comes_numbered` says that the publication is also
published with its position in the history of the channel.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from fastws.brokers.envelope import Decoded, load_object
from fastws.codec.json_text import JSON
from fastws.codec.registry import decoded
from fastws.dialects.feeds import job_of, job_publication, workspace_publication
from fastws.errors import BadRequest
from fastws.vocabulary.publication import NOBODY, Publication
from fastws.vocabulary.values import timestamp

EXTRAS: Final = "_fastws"
_CARRIED: Final = ("type", "sender", "priority", "key")


class JobsForm:
    """Job updates: `{"event", "job_id", "status", "timestamp", "data"}` (spec 3.4).

    `decode` numbers the updates: `seq` grows by one with each that this process receives.
    """

    name = "jobs"

    def __init__(self, limit_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._seq = 0

    def encode(self, publication: Publication, node: str, number: int, *, comes_numbered: bool = False) -> bytes:
        data = decoded(publication.data)
        job_id, status = job_of(replace(publication, data=data))
        at = int(self._clock()) if publication.timestamp is None else publication.timestamp
        message = {"event": publication.event, "job_id": job_id, "status": status, "timestamp": at, "data": data}
        present = {key: value for key, value in message.items() if value is not None or key == "data"}
        if publication.is_ephemeral:
            present["ephemeral"] = True
        return JSON.dumps({**present, EXTRAS: _extras(publication, node, number, comes_numbered=comes_numbered)})

    def decode(self, payload: bytes, channel: str) -> Decoded:
        value = _object_within(payload, self._limit_bytes)
        extras = value.pop(EXTRAS, None)
        try:
            publication = job_publication(value, channel, now=self._clock())
        except BadRequest:
            # fastws itself may publish without a job there. All subscribers get that, as with a single process.
            if not isinstance(extras, dict):
                raise
            publication = workspace_publication(value, channel)
        self._seq += 1
        return _with_extras(replace(publication, seq=self._seq), extras)


class WorkspaceForm:
    """Events of a workspace: `{"event", "data", "timestamp"[, "type", "priority"]}` (spec 3.3)."""

    name = "workspaces"

    def __init__(self, limit_bytes: int, now: Callable[[], str] = timestamp) -> None:
        self._limit_bytes = limit_bytes
        self._now = now

    def encode(self, publication: Publication, node: str, number: int, *, comes_numbered: bool = False) -> bytes:
        message: dict[str, object] = {
            "event": publication.event,
            "data": publication.data,
            "timestamp": self._now() if publication.timestamp is None else publication.timestamp,
        }
        if publication.type is not None:
            message["type"] = publication.type
        if publication.priority is not None:
            message["priority"] = publication.priority
        if publication.is_ephemeral:
            message["ephemeral"] = True
        message[EXTRAS] = _extras(publication, node, number, comes_numbered=comes_numbered)
        return JSON.dumps(message)

    def decode(self, payload: bytes, channel: str) -> Decoded:
        value = _object_within(payload, self._limit_bytes)
        extras = value.pop(EXTRAS, None)
        return _with_extras(workspace_publication(value, channel), extras)


def _object_within(payload: bytes, limit_bytes: int) -> dict[str, object]:
    if len(payload) > limit_bytes:
        raise BadRequest(f"must be at most {limit_bytes} bytes, not {len(payload)}")
    return load_object(payload)


def _extras(publication: Publication, node: str, number: int, *, comes_numbered: bool) -> dict[str, object]:
    extras: dict[str, object] = {"node": node, "number": number}
    if comes_numbered:
        extras["comes_numbered"] = True
    for name in _CARRIED:
        value = getattr(publication, name)
        if value is not None:
            extras[name] = value
    if publication.exclude:
        extras["exclude"] = sorted(publication.exclude)
    return extras


def _with_extras(publication: Publication, extras: object) -> Decoded:
    """Add the fields that another process of fastws has put into `extras`. Invalid extras are ignored."""
    if not isinstance(extras, dict):
        return Decoded(publication, None, 0)
    node, number, exclude = extras.get("node"), extras.get("number"), extras.get("exclude")
    carried = {name: extras[name] for name in _CARRIED if isinstance(extras.get(name), str | int)}
    excluded = frozenset(item for item in exclude if isinstance(item, str)) if isinstance(exclude, list) else NOBODY
    publication = replace(publication, exclude=excluded, **carried)
    if not isinstance(node, str) or not isinstance(number, int):
        return Decoded(publication, None, 0)
    return Decoded(publication, node, number, extras.get("comes_numbered") is True)
