"""The browser client as a package: what npm installs, node imports, and every request gets alike."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from fastws import __version__
from fastws.endpoints.client_package import package
from fastws.endpoints.console import CLIENT, CLIENT_PACKAGE, _files
from tests.node_packages import node, run


def contents(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr] # files only


def test_it_has_the_files_that_the_server_serves_and_a_manifest() -> None:
    files = {name: body for name, (body, _) in _files(CLIENT).items()}
    found = contents(files.pop(CLIENT_PACKAGE))
    manifest = json.loads(found.pop("package/package.json"))
    assert found == {f"package/{name}": body for name, body in files.items()}
    assert manifest["version"] == __version__
    targets = [path for each in manifest["exports"].values() if isinstance(each, dict) for path in each.values()]
    assert {f"package/{path.removeprefix('./')}" for path in targets} <= set(found)


def test_the_same_files_give_the_same_bytes() -> None:
    files = {"a.js": b"1", "b.js": b"2"}
    assert package(files) == package(dict(reversed(files.items())))
    assert package(files) != package({**files, "b.js": b"3"})


def test_npm_installs_it_and_node_imports_it_without_react(tmp_path: Path) -> None:
    executable, npm = node(), shutil.which("npm")
    if npm is None:
        pytest.skip("npm is missing: apt-get install npm")
    (tmp_path / CLIENT_PACKAGE).write_bytes(_files(CLIENT)[CLIENT_PACKAGE][0])
    (tmp_path / "package.json").write_text('{"type": "module"}')
    run([npm, "install", "--offline", "--no-audit", "--no-fund", f"./{CLIENT_PACKAGE}"], tmp_path)
    script = tmp_path / "script.js"
    script.write_text(
        'import { connect } from "fastws"; import { encode } from "fastws/msgpack"; '
        "console.log(typeof connect, typeof encode);"
    )
    assert run([executable, str(script)], tmp_path) == "function function\n"
