"""The browser client as one file: fastws.js with the modules that it imports, so that it can be copied and saved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# Static imports and re-exports of a module beside it; `import("./msgpack.js")` is left, because it is loaded on demand.
_IMPORT: Final = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)
_REEXPORT: Final = re.compile(r'^export \{([^}]*)\}(?: from "\./([\w.]+)")?;\n', re.MULTILINE)
_DECLARATION: Final = re.compile(r"^export ((?:async )?(?:class|function|const|let) (\w+))", re.MULTILINE)


def bundle(entry: str, sources: Mapping[str, str]) -> str:
    """`entry` and every module that it imports, as one ES module that exports what `entry` exports.

    Modules of `sources` (text by file name) may export declarations only, and share one scope here: no two may declare
    the same name. tests/static/test_modules.py loads the result.
    """
    names = sorted(name.strip() for name in _exported(sources[entry]) if name.strip())
    parts = [_inlined(sources[module]) for module in _in_order(entry, sources, [])]
    return "\n".join([*parts, f"export {{ {', '.join(names)} }};\n"])


def _in_order(module: str, sources: Mapping[str, str], done: list[str]) -> list[str]:
    """`module` after all that it imports."""
    source = sources[module]
    imported = [*_IMPORT.findall(source), *(name for _, name in _REEXPORT.findall(source) if name)]
    for name in imported:
        if name not in done:
            _in_order(name, sources, done)
    if module not in done:
        done.append(module)
    return done


def _inlined(source: str) -> str:
    """`source` without its imports and exports."""
    return _DECLARATION.sub(r"\1", _REEXPORT.sub("", _IMPORT.sub("", source)))


def _exported(source: str) -> list[str]:
    declared = [name for _, name in _DECLARATION.findall(source)]
    return declared + [name for names, _ in _REEXPORT.findall(source) for name in names.split(",")]
