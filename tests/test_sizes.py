"""House rules: files have at most 400 lines, and functions at most 30, except those that are listed here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastws

PACKAGE = Path(fastws.__file__).parent
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 30

# Longer functions, and why.
LONGER = {
    "bench/receiver.py:data_received": "hot, in the load client: its own calls count as the server's latency",
    "brokers/redis/wire/listener.py:__init__": "hot file: its 16 attributes, one per line, with comments",
    "client/client.py:__init__": "21 parameters, one per line, because they are the client's public interface",
    "hub/fan_out.py:_write": "hot file: the reason is in its docstring",
    "session/session.py:perform": "hot: a call per message would cost 0.1 µs (benchmarks/test_stages.py)",
    "setting_definition.py:setting": "its 14 parameters, one per line, twice",
    "wire/frame_reader.py:read_frames": "hot file: no call per frame (benchmarks/test_frames.py)",
    "wire/handshake.py:read_common_upgrade": "hot: no call per header (benchmarks/test_handshake.py)",
}


def long_functions() -> Iterator[str]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    yield f"{path.relative_to(PACKAGE)}:{node.name}"


def test_functions_are_short() -> None:
    assert set(long_functions()) == set(LONGER)


FILES = sorted(
    path
    for ending in ("py", "js", "css", "html")
    for path in PACKAGE.rglob(f"*.{ending}")
    if "vendor" not in path.parts
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
