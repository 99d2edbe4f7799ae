"""The entry point of the `fastws` command, in a package of its own.

The distribution is named fastws-server, because `fastws` on PyPI is another project, whose import package is `fastws`
as well. Installed beside ours it overwrites files of ours, so this check cannot be in the package `fastws`.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["main", "other_project"]


def main() -> int:
    """Run the command line, or print one line and return 1 if the other project named fastws is installed."""
    other = other_project(sys.path)
    if other is not None:
        _report(
            f"{other} is another project, which replaces files of fastws-server; remove it (pip uninstall fastws) and"
        )
        return 1
    import fastws

    if (
        getattr(fastws, "__file__", None) is None
    ):  # only a folder is left: the other project has taken __init__.py with it
        _report("files of fastws-server are missing;")
        return 1
    from fastws.cli import main as run

    return run()


def _report(problem: str) -> None:
    remedy = "install fastws-server again (pip install --force-reinstall --no-deps DIRECTORY_OR_WHEEL)"
    print(f"fastws: {problem} {remedy}", file=sys.stderr)


def other_project(folders: list[str]) -> Path | None:
    """Return the metadata of a distribution named `fastws` that is not an earlier one of ours, None if there is none.

    `folders` are those that Python imports from. They are listed, because importing importlib.metadata takes longer.
    """
    for folder in (Path(each).absolute() for each in folders):
        for metadata in sorted(folder.glob("fastws-*-info")):
            entry_points = metadata / "entry_points.txt"
            # Ours was named fastws until version 0.1.
            if not (entry_points.is_file() and "fastws.cli:main" in entry_points.read_text("utf-8")):
                return metadata
    return None
