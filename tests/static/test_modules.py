"""The modules of the client and the console: each is short, and imports only files that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fastws.endpoints.client_bundle import bundle
from tests.node_packages import STATIC, run_module

MODULES = sorted(STATIC.glob("*/*.js"))
MOST_LINES = 400
IMPORT = re.compile(r'(?:from|import|import\() ?"(\.[^"]+)"')


def imported(module: Path) -> list[Path]:
    return [(module.parent / name).resolve() for name in IMPORT.findall(module.read_text())]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_a_module_is_short_and_imports_files_that_are_there(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MOST_LINES
    assert [path for path in imported(module) if not path.is_file()] == []


def test_every_module_of_the_client_belongs_to_one_that_users_import() -> None:
    public = [STATIC / "client" / f"{declared.name.removesuffix('.d.ts')}.js" for declared in STATIC.glob("*/*.d.ts")]
    reached = set(public)
    while more := {path for module in reached for path in imported(module)} - reached:
        reached |= more
    assert sorted(reached) == sorted((STATIC / "client").glob("*.js"))


def test_fastws_js_imports_msgpack_only_on_demand() -> None:
    reached = {STATIC / "client" / "fastws.js"}
    while more := {path for module in reached for path in imported(module)} - reached:
        reached |= more
    by_import = re.compile(r"^(?:import|export) .*msgpack", re.MULTILINE)
    assert [module.name for module in reached if by_import.search(module.read_text())] == []


def test_a_codec_that_cannot_be_loaded_is_a_failed_attempt(tmp_path: Path) -> None:
    run_module("", tmp_path)
    (tmp_path / "client" / "msgpack.js").unlink()
    source = """
    import { connect } from "./client/fastws.js";
    const options = { url: "ws://127.0.0.1:1", format: "msgpack", reconnect: false };
    const client = connect({ ...options, WebSocket: class {}, onError: () => {} });
    client.ready.catch((error) => console.log(client.status, error.code));
    """
    assert run_module(source, tmp_path).strip() == "disconnected closed"


def test_the_published_client_is_one_file_that_exports_what_the_module_exports(tmp_path: Path) -> None:
    sources = {path.name: path.read_text() for path in (STATIC / "client").glob("*.js")}
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "saved.mjs").write_text(bundle("fastws.js", sources))
    source = """
    const published = await import("./alone/saved.mjs"), module = await import("./client/fastws.js");
    console.log(JSON.stringify([Object.keys(published), Object.keys(module)]));
    const client = published.connect({ url: "ws://127.0.0.1:1", WebSocket: class { close() {} }, reconnect: false });
    console.log(client.status);
    client.close();
    """
    exports, status = run_module(source, tmp_path).strip().splitlines()
    published, module = json.loads(exports)
    assert published == module == ["Client", "FastWSError", "connect", "expiryOf", "reconnectDelay"]
    assert status == "connecting"


def test_modules_of_the_published_client_export_declarations_only() -> None:
    for path in (STATIC / "client").glob("*.js"):
        if not path.name.startswith(("react", "msgpack")):
            source = path.read_text()
            assert re.findall(r"^export (?!(?:async )?(?:class|function|const|let) |\{)", source, re.MULTILINE) == []
            assert " as " not in " ".join(re.findall(r"^(?:import|export) \{[^}]*\}", source, re.MULTILINE))
