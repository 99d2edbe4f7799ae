"""Reading examples as documents write them: JSON, JavaScript literals, Python literals; and comparing with them."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

Value = Any
# Made anew for every connection and moment: only its type is compared.
VOLATILE = frozenset({"connection_id", "timestamp", "from", "seq", "started_at", "completed_at"})


def javascript(text: str) -> Value:
    """An object literal of JavaScript, alone or as what `JSON.stringify(` is given."""
    _, found, rest = text.partition("JSON.stringify(")
    if found:
        text = rest[: rest.rindex("}") + 1]
    text = re.sub(r"//[^\n]*", "", text)
    text = text.replace("'", '"')
    text = re.sub(r"([{,]\s*)(\w+)\s*:", r'\1"\2":', text)
    return json.loads(text)


def python(text: str) -> Value:
    """A dict literal of Python, alone or as what `json.dumps(` is given."""
    _, found, rest = text.partition("json.dumps(")
    if found:
        text = rest[: rest.rindex("}") + 1]
    return ast.literal_eval(text.strip())


def agrees(heard: Value, example: Value, *, volatile: frozenset[str] = VOLATILE) -> bool:
    """Whether `heard` has the keys of `example` and its values; of volatile ones, their types."""
    if isinstance(example, dict):
        return (
            isinstance(heard, dict)
            and set(heard) == set(example)
            and all(
                type(heard[key]) is type(value) if key in volatile else agrees(heard[key], value, volatile=volatile)
                for key, value in example.items()
            )
        )
    if isinstance(example, list):
        return (
            isinstance(heard, list)
            and len(heard) == len(example)
            and all(agrees(*pair, volatile=volatile) for pair in zip(heard, example, strict=True))
        )
    return type(heard) is type(example) and heard == example
