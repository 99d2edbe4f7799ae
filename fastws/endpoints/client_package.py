"""The browser client as a package for npm and bundlers, which `npm install URL` takes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from importlib import import_module
from typing import Final

import orjson

# Not `from fastws import …`: that package names the server for type checkers, which is above this one.
_VERSION: Final[str] = import_module("fastws").__version__

_MANIFEST: Final = {
    "name": "fastws",
    "version": _VERSION,
    "description": "The client of a fastws server, with React hooks",
    "license": "MIT",
    "type": "module",
    "sideEffects": False,
    "main": "./fastws.js",
    "types": "./fastws.d.ts",
    "exports": {
        ".": {"types": "./fastws.d.ts", "default": "./fastws.js"},
        "./react": {"types": "./react.d.ts", "default": "./react.js"},
        "./msgpack": {"types": "./msgpack.d.ts", "default": "./msgpack.js"},
        "./package.json": "./package.json",
    },
    "peerDependencies": {"react": ">=18"},
    "peerDependenciesMeta": {"react": {"optional": True}},
}


def package(files: Mapping[str, bytes]) -> bytes:
    """Return a compressed tar archive of `files` (body by name) with their package.json, for `npm install`.

    The same files give the same bytes, because npm keeps a checksum of what it has installed.
    """
    import tarfile  # on the first request only

    contents = {"package.json": orjson.dumps(_MANIFEST, option=orjson.OPT_INDENT_2) + b"\n", **files}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(contents):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(contents[name])
            tar.addfile(entry, io.BytesIO(contents[name]))
    return gzip.compress(archive.getvalue(), mtime=0)
