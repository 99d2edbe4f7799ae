"""Feeds: converts job updates and workspace events of backends to publications."""

from __future__ import annotations

import math
from typing import Final

from fastws.dialects.fields import check_text
from fastws.errors import BadRequest
from fastws.vocabulary.publication import Publication

JOB_UPDATE: Final = "job_update"


def job_publication(value: object, channel: str, *, now: float) -> Publication:
    """Convert a job update in either format of spec 3.4: with `event` and `timestamp`, or without.

    `now` is the time of arrival in seconds since the epoch, used if the update has no timestamp. The `attributes` of
    the publication are `job_id` and `status`, both text. Raises BadRequest naming the fault.
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
        "job_id": str(job_id) if type(job_id) is int else check_text(job_id, field="job_id"),
        "status": check_text(data.get("status") if status is None else status, field="status"),
    }
    at = _timestamp(update)
    return Publication(
        channel,
        JOB_UPDATE,
        data,
        type=JOB_UPDATE,
        timestamp=int(now) if at is None else at,
        attributes=attributes,
        is_ephemeral=update.get("ephemeral") is True,
    )


def workspace_publication(value: object, channel: str) -> Publication:
    """Convert a workspace event, an object with the fields of a delivery to workspaces clients.

    These are `event`, `data` and optionally `priority`, `timestamp` and, for rooms clients, `type`. Raises BadRequest
    naming the fault.
    """
    fields = _object(value)
    kind = fields.get("type")
    priority = fields.get("priority")
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, (str, int))):
        raise BadRequest("`priority` must be a string or an integer")
    return Publication(
        channel,
        check_text(fields.get("event"), field="event"),
        fields.get("data"),
        type=None if kind is None else check_text(kind, field="type"),
        timestamp=_timestamp(fields),
        priority=priority,
        is_ephemeral=fields.get("ephemeral") is True,
    )


def job_of(publication: Publication) -> tuple[str | None, str | None]:
    """Return the job id and status of a job update, from its attributes or else its data. Integer ids become text.

    Returns None for values of other types.
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
        raise BadRequest(f"the message must be an object, not {type(value).__name__}")
    return value


def _timestamp(fields: dict[str, object]) -> str | int | float | None:
    value = fields.get("timestamp")
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadRequest("`timestamp` must be a string or a number of seconds since the epoch")
    return value
