"""Messages of each dialect reach subscribers of all others, each in its own format and codec."""

from __future__ import annotations

import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.codec.codec import Codec
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.dialects.channels import CHANNELS
from fastws.dialects.dialect import Dialect
from fastws.dialects.feeds import job_publication, workspace_publication
from fastws.dialects.jobs import JOBS
from fastws.dialects.rooms import ROOMS
from fastws.dialects.workspaces import WORKSPACES, Workspaces
from fastws.errors import BadRequest, Forbidden
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Encoded, Publication

AT = "2025-11-09T12:00:00.000Z"
FEED = "botrix:jobs:updates"

SAID: dict[str, Publication] = {
    "a channels client": Publication("execution:1", "status_changed", {"n": 1}, sender="c1", timestamp=AT),
    "a channels client, body passed on": Publication(
        "execution:1", "status_changed", Encoded("json", b'{"n":1}'), sender="c1", timestamp=AT
    ),
    "a msgpack client, body passed on": Publication(
        "execution:1", "status_changed", Encoded("msgpack", b"\x81\xa1n\x01"), sender="c1", timestamp=AT
    ),
    "POST /broadcast": Publication("workflow:1", "node", [1, "ü"], type="node_update", priority="high", timestamp=AT),
    "a workspace's backend": workspace_publication(
        {"event": "alert", "data": {"m": 1}, "priority": 2, "timestamp": AT}, "workspace:w1"
    ),
    "a worker": job_publication(
        {"event": "job_update", "job_id": 7, "timestamp": 1762689600, "data": {"status": "failed"}}, FEED, now=0
    ),
}

HEARD: dict[str, dict[Dialect, dict[str, object]]] = {
    "a channels client": {
        CHANNELS: {"channel": "execution:1", "event": "status_changed", "data": {"n": 1}, "from": "c1"},
        ROOMS: {"type": "execution_update", "event": "status_changed", "data": {"n": 1}, "timestamp": AT},
        WORKSPACES: {"event": "status_changed", "data": {"n": 1}, "timestamp": AT},
        JOBS: {"type": "message", "event": "status_changed", "data": {"n": 1}, "timestamp": AT},
    },
    "POST /broadcast": {
        CHANNELS: {"channel": "workflow:1", "event": "node", "data": [1, "ü"]},
        ROOMS: {"type": "node_update", "event": "node", "data": [1, "ü"], "timestamp": AT},
        WORKSPACES: {"event": "node", "data": [1, "ü"], "priority": "high", "timestamp": AT},
        JOBS: {"type": "node_update", "event": "node", "data": [1, "ü"], "timestamp": AT},
    },
    "a workspace's backend": {
        CHANNELS: {"channel": "workspace:w1", "event": "alert", "data": {"m": 1}},
        ROOMS: {"type": "message", "event": "alert", "data": {"m": 1}, "timestamp": AT},
        WORKSPACES: {"event": "alert", "data": {"m": 1}, "priority": 2, "timestamp": AT},
        JOBS: {"type": "message", "event": "alert", "data": {"m": 1}, "timestamp": AT},
    },
    "a worker": {
        CHANNELS: {"channel": FEED, "event": "job_update", "data": {"status": "failed"}},
        ROOMS: {"type": "job_update", "event": "job_update", "data": {"status": "failed"}, "timestamp": AT},
        WORKSPACES: {"event": "job_update", "data": {"status": "failed"}, "timestamp": AT},
        JOBS: {
            "type": "job_update",
            "job_id": "7",
            "status": "failed",
            "data": {"status": "failed"},
            "timestamp": 1762689600,
        },
    },
}
# Read by what nobody here wrote.
READ = {JSON: json.loads, MSGPACK: msgpack.unpackb}

HEARD["a channels client, body passed on"] = HEARD["a channels client"]
HEARD["a msgpack client, body passed on"] = HEARD["a channels client"]


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)
@pytest.mark.parametrize("dialect", [CHANNELS, ROOMS, WORKSPACES, JOBS], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("source", SAID)
def test_every_dialect_receives_every_source_in_its_own_format(source: str, dialect: Dialect, codec: Codec) -> None:
    payload = codec.dumps(dialect.delivery(SAID[source]))
    assert READ[codec](payload) == HEARD[source][dialect]


ids = st.sampled_from(["a", "b", "A", "a:b", "a ", "*", "", "b:*", "{sub}", "{workspace_id}"])


@given(ids, st.frozensets(ids, max_size=3), st.none() | ids)
def test_a_client_is_only_in_a_workspace_that_its_token_lists(
    own: str, listed: frozenset[str], asked: str | None
) -> None:
    identity = Identity("u1", workspace=own or None, workspaces=listed)
    query = {} if asked is None else {"workspace_id": asked}
    try:
        place = Workspaces("w/{workspace_id}").admit(identity, query)
    except Forbidden:
        wanted = asked or own
        assert not wanted or (wanted != own and wanted not in listed)
        return
    except BadRequest:
        return
    assert place.workspace in listed | {own}
    assert place.workspace == (asked or own)
    assert place.channels == (f"w/{place.workspace}",)
