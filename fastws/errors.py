"""All errors of fastws. Each class defines its error code, HTTP status and WebSocket close code."""

from __future__ import annotations

from typing import ClassVar


class FastWSError(Exception):
    """Base class of all errors. `str(error)` is safe to show to clients: it contains no internals and no secrets.

    `reason` is the label in metrics where `code` is too general; the default is `code`. `channel` is the channel
    that the error concerns. `cause` is what the operator has to know: it is logged, and never shown to clients.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011

    def __init__(self, message: str, *, channel: str | None = None, reason: str | None = None, cause: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.channel = channel
        self.reason = reason or self.code
        self.cause = cause


class BadRequest(FastWSError):
    """The message or body is invalid. The text names the field and what is expected."""

    code = "bad_request"
    status = 400
    close_code = 1008


class Unauthorized(FastWSError):
    """Credentials are missing or invalid. The text never tells a forger what is wrong with them."""

    code = "unauthorized"
    status = 401
    close_code = 4401


class Forbidden(FastWSError):
    """The client is authenticated but not allowed to do this."""

    code = "forbidden"
    status = 403
    close_code = 4403


class NotFound(FastWSError):
    code = "not_found"
    status = 404
    close_code = 1008


class MethodNotAllowed(FastWSError):
    """The path exists but does not support this method. `allow` lists those it supports, for the Allow header."""

    code = "method_not_allowed"
    status = 405
    close_code = 1008

    def __init__(self, message: str, *, allow: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allow = allow


class Misdirected(FastWSError):
    """The Host of the request is not in `allowed_hosts` (RFC 9110 section 15.5.20)."""

    code = "misdirected"
    status = 421
    close_code = 1008


class UpgradeRequired(FastWSError):
    """The WebSocket version is not 13 (RFC 6455 section 4.4)."""

    code = "upgrade_required"
    status = 426
    close_code = 1002


class Gone(FastWSError):
    """The connection is closed or has never existed."""

    code = "gone"
    status = 410
    close_code = 1008


class Unrecoverable(FastWSError):
    """A position in a history is gone or has never been: nothing can be continued from it."""

    code = "unrecoverable"
    status = 409
    close_code = 1008


class TooLarge(FastWSError):
    code = "too_large"
    status = 413
    close_code = 1009


class HeadersTooLarge(FastWSError):
    code = "headers_too_large"
    status = 431
    close_code = 1009


class RateLimited(FastWSError):
    """Too many messages or requests. `retry_after_seconds` is the value for the Retry-After header."""

    code = "rate_limited"
    status = 429
    close_code = 1008

    def __init__(
        self, message: str, *, channel: str | None = None, reason: str | None = None, retry_after_seconds: int = 1
    ) -> None:
        super().__init__(message, channel=channel, reason=reason)
        self.retry_after_seconds = retry_after_seconds


class TooManyChannels(FastWSError):
    code = "too_many_channels"
    status = 429
    close_code = 1008


class Unavailable(FastWSError):
    """The server cannot accept this now. `retry_after_seconds` is the value for the Retry-After header."""

    code = "unavailable"
    status = 503
    close_code = 1013

    def __init__(
        self, message: str, *, reason: str | None = None, cause: str = "", retry_after_seconds: int = 1
    ) -> None:
        super().__init__(message, reason=reason, cause=cause)
        self.retry_after_seconds = retry_after_seconds


class ServerFull(Unavailable):
    """The process has as many connections or sockets as it may have."""

    def __init__(self) -> None:
        super().__init__(
            "the server is full; try again later",
            reason="full",
            cause="max_connections or the file limit is reached: raise it, or add processes",
            retry_after_seconds=5,
        )


class Draining(Unavailable):
    """The server is shutting down or being replaced and accepts no new connections."""

    def __init__(self) -> None:
        super().__init__("the server is restarting; connect again", reason="draining", retry_after_seconds=1)


class BrokerUnavailable(FastWSError):
    """Redis is unavailable. The publication was not sent."""

    code = "broker_unavailable"
    status = 503
    close_code = 1013


class OutcomeUnknown(BrokerUnavailable):
    """Redis or another node received the request but did not answer. It may have been carried out."""


class Repeated(FastWSError):
    """A message with this id was published before. `first` is what Redis knows of that publication."""

    def __init__(self, first: bytes) -> None:
        super().__init__("a message with this message_id was published before")
        self.first = first


class Dismissed(FastWSError):
    """The dialect closes the connection with `dismissal_code`. `label` is the reason in metrics."""

    code = "dismissed"
    status = 403
    close_code = 1008

    def __init__(self, message: str, *, dismissal_code: int, label: str) -> None:
        super().__init__(message)
        self.dismissal_code = dismissal_code
        self.label = label


class TooManyMembers(FastWSError):
    """The channel has as many users as it may have."""

    code = "too_many_members"
    status = 429
    close_code = 1008


class Unencodable(BadRequest):
    """A value cannot be encoded in a subscriber's codec (nested too deeply, or of an unsupported type)."""


class ReservedEvent(Unencodable):
    """Clients of a dialect would take this event for one of the server itself: they do not get the publication."""


class UnknownAction(BadRequest):
    """The action is unknown to the dialect. The application's event hook may handle it."""


class InvalidPayload(BadRequest):
    """The payload cannot be decoded. The connection stays open."""


class InvalidText(FastWSError):
    """A text message is not valid UTF-8 (RFC 6455 section 8.1). The connection is closed with 1007."""

    code = "invalid_text"
    status = 400
    close_code = 1007


class UnsupportedData(FastWSError):
    """The connection does not accept this type of frame (RFC 6455 section 7.4.1). It is closed with 1003."""

    code = "unsupported_data"
    status = 400
    close_code = 1003


class ProtocolViolation(FastWSError):
    """The client violated RFC 6455 or a limit. `violation_code` is the close code: 1002, 1007, 1008 or 1009."""

    code = "protocol_error"
    status = 400
    close_code = 1002

    def __init__(self, message: str, *, violation_code: int = 1002) -> None:
        super().__init__(message)
        self.violation_code = violation_code


class ConfigError(FastWSError):
    """A setting is invalid. The text names the setting and what is expected. Exit code 2.

    `messages` are all mistakes that were found; the text is the first one.
    """

    code = "config"

    def __init__(self, message: str, *more: str) -> None:
        super().__init__(message)
        self.messages = (message, *more)
