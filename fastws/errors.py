"""Every error of fastws: each knows whose fault it is, and its answer in HTTP, in a message and as a close."""

from __future__ import annotations

from typing import ClassVar


class FastWSError(Exception):
    """The root of all. `str(error)` is safe to show to the client: it never carries internals or secrets.

    `reason` is the word for it in metrics where `code` says too little.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011

    def __init__(self, message: str, *, channel: str | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.channel = channel
        self.reason = reason or self.code


class BadRequest(FastWSError):
    """The client's message or body is not what was agreed; the text names the field and what would be right."""

    code = "bad_request"
    status = 400
    close_code = 1008


class Unauthorized(FastWSError):
    """No credentials, or credentials that do not hold. The text never helps a forger."""

    code = "unauthorized"
    status = 401
    close_code = 4401


class Forbidden(FastWSError):
    """Known, but not allowed to do this."""

    code = "forbidden"
    status = 403
    close_code = 4403


class NotFound(FastWSError):
    code = "not_found"
    status = 404
    close_code = 1008


class MethodNotAllowed(FastWSError):
    """The address exists but not with this method. `allow` lists the methods that do, for the Allow header."""

    code = "method_not_allowed"
    status = 405
    close_code = 1008

    def __init__(self, message: str, *, allow: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allow = allow


class Misdirected(FastWSError):
    """The request names a host that is not this server (RFC 9110 section 15.5.20)."""

    code = "misdirected"
    status = 421
    close_code = 1008


class UpgradeRequired(FastWSError):
    """A WebSocket version that is not 13 (RFC 6455 section 4.4)."""

    code = "upgrade_required"
    status = 426
    close_code = 1002


class Gone(FastWSError):
    """The connection that was named is no longer there."""

    code = "gone"
    status = 410
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
    """Too many messages or requests. `retry_after_seconds` says when to come again."""

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
    """The process takes nobody in just now: full, draining or switched off."""

    code = "unavailable"
    status = 503
    close_code = 1013

    def __init__(self, message: str, *, reason: str | None = None, retry_after_seconds: int = 1) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_seconds = retry_after_seconds


class BrokerUnavailable(FastWSError):
    """Redis does not answer: the publication was not sent."""

    code = "broker_unavailable"
    status = 503
    close_code = 1013


class OutcomeUnknown(BrokerUnavailable):
    """Redis, or another process, was asked and did not answer: it may have been done."""


class Unencodable(BadRequest):
    """A payload that can be read but not written in a subscriber's codec (NaN, too deep, an unknown type)."""


class UnknownAction(BadRequest):
    """A message that names no action known here: the application's hook may know it."""


class InvalidPayload(BadRequest):
    """Bytes that are not the codec's language; the connection stays."""


class InvalidText(FastWSError):
    """A text message that is not UTF-8 (RFC 6455 section 8.1): the connection ends with 1007."""

    code = "invalid_text"
    status = 400
    close_code = 1007


class UnsupportedData(FastWSError):
    """A kind of frame this connection never agreed to (RFC 6455 section 7.4.1): 1003."""

    code = "unsupported_data"
    status = 400
    close_code = 1003


class ProtocolViolation(FastWSError):
    """Bytes that break RFC 6455. `violation_code` is the close code: 1002, 1007, 1008 or 1009."""

    code = "protocol_error"
    status = 400
    close_code = 1002

    def __init__(self, message: str, *, violation_code: int = 1002) -> None:
        super().__init__(message)
        self.violation_code = violation_code


class ConfigError(FastWSError):
    """A setting that cannot be used; the text names the setting and what would be right. Exit code 2."""

    code = "config"
