"""The feeds: job updates and workspace events as plain backends publish them, and as publications."""

from __future__ import annotations

import math
from typing import Final

from fastws.dialects.fields import check_word
from fastws.errors import BadRequest
from fastws.vocabulary.publication import Publication

JOB_UPDATE: Final = "job_update"


def job_publication(value: object, channel: str, *, now: float) -> Publication:
    """A job update from either shape of spec 3.4: with `event` and `timestamp`, or bare.

    `now` is the time of arrival in seconds since the epoch, the timestamp of an update that has none. The
    `attributes` are `job_id` and `status`, both text. Raises BadRequest naming what is wrong.
    """
    update = _object(value)
    if update.get("event", JOB_UPDATE) != JOB_UPDATE:
        raise BadRequest(f"`event` of a job update must be {JOB_UPDATE!r}")
    data = update.get("data")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise BadRequest("`data` of a job update must be an object")
    job_id = update.get("job_id")
    status = update.get("status")
    attributes = {
        "job_id": str(job_id) if type(job_id) is int else check_word(job_id, field="job_id"),
        "status": check_word(data.get("status") if status is None else status, field="status"),
    }
    at = _timestamp(update)
    return Publication(
        channel,
        JOB_UPDATE,
        data,
        type=JOB_UPDATE,
        timestamp=int(now) if at is None else at,
        attributes=attributes,
    )


def workspace_publication(value: object, channel: str) -> Publication:
    """A workspace's event, in the shape in which its clients hear it: `event`, `data` and what else applies.

    That is `priority`, `timestamp` and, for rooms clients, `type`. Raises BadRequest naming what is wrong.
    """
    said = _object(value)
    kind = said.get("type")
    priority = said.get("priority")
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, (str, int))):
        raise BadRequest("`priority` must be a string or an integer")
    return Publication(
        channel,
        check_word(said.get("event"), field="event"),
        said.get("data"),
        type=None if kind is None else check_word(kind, field="type"),
        timestamp=_timestamp(said),
        priority=priority,
    )


def job_of(publication: Publication) -> tuple[str | None, str | None]:
    """The job id and status of a job update, from its attributes or else its data; an integer id as text.

    A value that is neither text nor an integer counts as absent: None.
    """
    attributes = publication.attributes
    if attributes is None:
        attributes = publication.data if isinstance(publication.data, dict) else {}
    job_id = attributes.get("job_id")
    status = attributes.get("status")
    if type(job_id) is int:
        job_id = str(job_id)
    return job_id if isinstance(job_id, str) else None, status if isinstance(status, str) else None


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise BadRequest(f"an object is expected, not {type(value).__name__}")
    return value


def _timestamp(fields: dict[str, object]) -> str | int | float | None:
    value = fields.get("timestamp")
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadRequest("`timestamp` must be text or seconds since the epoch")
    return value
