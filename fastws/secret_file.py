"""Reads secrets from files, as Docker and Kubernetes mount them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fastws.errors import ConfigError

# Appended to a variable, it names a file that contains the value.
FILE_SUFFIX: Final = "_FILE"


def secret_from_file(environment: Mapping[str, str], variable: str) -> str | None:
    """Return the text of the file that `variable`_FILE names, or None if that is not set. Blank counts as not set.

    Raises ConfigError if `variable` is set as well, or if the file is empty or cannot be read.
    """
    name = variable + FILE_SUFFIX
    path = environment.get(name, "")
    if not path.strip():
        return None
    if environment.get(variable, "").strip():
        raise ConfigError(f"{name}: {variable} is set as well; unset one of them")
    try:
        text = Path(path).read_text().strip()
    except OSError as error:
        raise ConfigError(f"{name}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: {path} must contain UTF-8 text") from None
    if not text:
        raise ConfigError(f"{name}: {path} is empty")
    return text
