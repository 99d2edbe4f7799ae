"""Host patterns of `allowed_origins` and `allowed_hosts`, compiled so that matching takes linear time."""

from __future__ import annotations

import re
from typing import Final

# A host name has at most 253 characters; this leaves room for the scheme and the port. Longer values never match.
MAX_LENGTH: Final = 320
# `*` matches parts of host names, but not `/`, `:` or `@`.
_WILD: Final = r"[a-z0-9._-]"


def host_expression(pattern: str) -> str:
    """Return the regular expression of a host, without port, in which each `*` matches at least one character.

    Clients choose the text, so there is no backtracking between two `*`: in a glob, taking the leftmost match of each
    piece but the last loses no match, hence atomic groups.
    """
    first, *others = (re.escape(piece) for piece in pattern.split("*"))
    if not others:
        return first
    middle = "".join(f"(?>{_WILD}+?{piece})" for piece in others[:-1])
    return f"{first}{middle}{_WILD}+{others[-1]}"
