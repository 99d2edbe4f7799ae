"""Converts the claims of a verified token to an identity. Checks all types, since signers make mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastws.errors import BadRequest
from fastws.vocabulary.channels import check_channel_name
from fastws.vocabulary.identity import Identity

# 9999-12-31. Later times have no date, and a token with 1e300 would never expire.
MAX_NUMERIC_DATE: Final = 253_402_300_799


def identity_of(claims: Mapping[str, object]) -> Identity:
    """Return the identity described by `claims` (spec 3.5). Raises BadRequest naming the invalid claim."""
    user = _name(claims, "sub")
    if user is None:
        raise BadRequest("`sub` is missing: it must be the user")
    # Each user has a channel `user:<sub>`: both names must be valid channel names.
    check_channel_name(user, field="sub")
    check_channel_name(f"user:{user}", field="sub")
    expires_at = _numeric_date(claims, "exp")
    if expires_at is None:
        raise BadRequest("`exp` is missing: it must be seconds since the epoch")
    _numeric_date(claims, "nbf")
    own = claims.get("workspace_id")
    workspace = None if own is None else _workspace(own, "workspace_id")
    workspaces = frozenset(_list(claims, "workspaces", _workspace) or ())
    return Identity(
        user=user,
        workspace=workspace,
        workspaces=workspaces if workspace is None else workspaces | {workspace},
        channels=_list(claims, "channels", _pattern),
        publish=_list(claims, "publish", _pattern),
        expires_at=expires_at,
        issued_at=_numeric_date(claims, "iat"),
        token_id=_name(claims, "jti"),
        claims=claims,
    )


def _name(claims: Mapping[str, object], claim: str) -> str | None:
    value = claims.get(claim)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 255:
        raise BadRequest(f"`{claim}` must be a string of 1 to 255 characters")
    return value


def _numeric_date(claims: Mapping[str, object], claim: str) -> float | None:
    value = claims.get(claim)
    if value is None:
        return None
    # RFC 7519 section 2, NumericDate: a JSON number. Strings of digits and booleans are invalid.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadRequest(f"`{claim}` must be a number of seconds since the epoch")
    # False for NaN.
    if not 0 <= value <= MAX_NUMERIC_DATE:
        raise BadRequest(f"`{claim}` must be a time from 1970 to 9999 in seconds since the epoch")
    return float(value)


def _list(claims: Mapping[str, object], claim: str, read: Callable[[object, str], str]) -> tuple[str, ...] | None:
    value = claims.get(claim)
    if value is None:
        return None
    if not isinstance(value, list):
        raise BadRequest(f"`{claim}` must be a list of strings")
    return tuple(read(entry, f"{claim}[{position}]") for position, entry in enumerate(value))


def _pattern(value: object, field: str) -> str:
    return check_channel_name(value, field=field)


def _workspace(value: object, field: str) -> str:
    # Databases often number workspaces. The query parameter is text in any case.
    return check_channel_name(str(value) if type(value) is int else value, field=field)
