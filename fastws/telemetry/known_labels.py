"""The label values of counters that are known from the start. They are exposed as 0 before their first event.

A series that appears with its first event has no increase, so that `increase(…) > 0` misses that event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastws.dialects.mount import DEFAULT_MOUNTS
from fastws.vocabulary.pusher_apps import WEBHOOK_EVENTS

_DIALECTS: Final = tuple(sorted({dialect for name in DEFAULT_MOUNTS.values() for dialect in name.split("+")}))
_POLICIES: Final = ("conflate", "disconnect", "drop_newest", "drop_oldest")
_CLOSED: Final = (
    *((1000, "client"), (1001, "client"), (1005, "client"), (1000, "operator"), (1001, "idle")),
    *((1002, "protocol_error"), (1003, "unsupported_data"), (1006, "lost")),
    *(
        (1007, "invalid_text"),
        (1007, "protocol_error"),
        (1008, "protocol_error"),
        (1008, "rate_limited"),
        (1008, "terminated"),
    ),
    *(
        (1009, "protocol_error"),
        (1011, "internal"),
        (1012, "drain"),
        (1012, "stop"),
        (1013, "slow_consumer"),
        (1013, "unavailable"),
    ),
    *((4401, "expired"), (4401, "revoked")),
)
_REFUSED: Final = (
    *((400, "bad_request"), (400, "tls"), (401, "hook"), (401, "no_token_through_proxy"), (401, "unauthorized")),
    *((403, "forbidden"), (403, "hook"), (403, "origin"), (404, "not_found"), (405, "method_not_allowed")),
    *((413, "too_large"), (421, "misdirected"), (426, "upgrade_removed"), (426, "upgrade_required")),
    *((429, "address_limit"), (429, "user_limit"), (431, "headers_too_large"), (500, "internal")),
    *((503, "connect_rate"), (503, "draining"), (503, "full"), (503, "hook"), (503, "switched_off")),
)
# Only of the endpoints for backends: a wrong key is the refusal that an operator has to know of.
_REQUESTS_REFUSED: Final = (
    *(("/broadcast", 401), ("/{stage}/broadcast", 401), ("/connections", 401), ("/connections/{id}", 401)),
    *(("/revocations", 401), ("/@connections/{id}", 403), ("/{stage}/@connections/{id}", 403)),
)
_HOOK_CALLS: Final = (
    *(("$connect", "done"), ("$connect", "failed"), ("$connect", "refused")),
    *((route, outcome) for route in ("$default", "$disconnect") for outcome in ("done", "dropped", "failed")),
)
_PUSHER_REQUESTS: Final = tuple(
    (endpoint, status)
    for endpoint in ("events", "batch_events", "channels", "channel", "users", "terminate", "connections")
    for status in (200, 401)
)
_RESULTS: Final = ("dropped", "failed", "sent")
_WEBHOOKS: Final = tuple((event, result) for event in ("channel_occupied", "channel_vacated") for result in _RESULTS)

# By attribute of Counters: the keys that are exposed from the start.
KNOWN_LABELS: Final[Mapping[str, tuple[object, ...]]] = {
    "opened": _DIALECTS,
    "closed": _CLOSED,
    "refused": _REFUSED,
    "requests_refused": _REQUESTS_REFUSED,
    "received": _DIALECTS,
    "publications": ("application", "aws", "client", "http", "redis"),
    "holes": ("filled", "gap"),
    "recoveries": ("never_was", "recovered", "too_many", "too_old", "wrong_epoch"),
    "slow_consumers": _POLICIES,
    "dropped": (*_POLICIES, "broker", "closed", "direct", "reserved_event", "slow_consumer", "unencodable"),
    "rate_limited": ("address", "broadcast", "connect", "message", "refresh", "user"),
    "feed_rejected": ("channels", "jobs", "service", "workspaces"),
    "hook_calls": _HOOK_CALLS,
    "pusher_client_events": ("channel", "name", "off", "ok", "rate", "size"),
    "pusher_subscriptions_refused": ("AuthError", "BadRequest", "Forbidden", "LimitReached", "ServerError"),
    "pusher_requests": _PUSHER_REQUESTS,
    "pusher_webhooks": tuple((event, result) for event in sorted(WEBHOOK_EVENTS) for result in _RESULTS),
    "webhooks": _WEBHOOKS,
}
