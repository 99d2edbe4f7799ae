"""The files of the console and the browser client over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fastws.server.server import Server
from tests.serving import Serve


async def fetch(server: Server, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        return await client.request(method, path, headers={name.replace("_", "-"): v for name, v in headers.items()})


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/console/console.js", "text/javascript"),
        ("/console/console.css", "text/css"),
        ("/console/icon.svg", "image/svg+xml"),
        ("/client/fastws.js", "text/javascript"),
        ("/client/fastws.d.ts", "text/plain"),
        ("/client/react.js", "text/javascript"),
        ("/client/react.d.ts", "text/plain"),
    ],
)
async def test_files_are_served_as_what_they_are(serve: Serve, path: str, kind: str) -> None:
    response = await fetch(await serve(), path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(kind)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-cache"


async def test_the_page_may_load_nothing_from_other_sites_and_not_be_framed(serve: Serve) -> None:
    policy = (await fetch(await serve(), "/")).headers["content-security-policy"]
    rules: dict[str, list[str]] = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == rules["frame-ancestors"] == ["'none'"]
    assert rules["script-src"] == rules["style-src"] == ["'self'"]
    assert "unsafe" not in policy


async def test_the_client_may_be_imported_by_pages_of_any_origin_and_the_console_not(serve: Serve) -> None:
    server = await serve()
    assert (await fetch(server, "/client/fastws.js")).headers["access-control-allow-origin"] == "*"
    for path in ("/", "/console/console.js"):
        assert "access-control-allow-origin" not in (await fetch(server, path)).headers


@pytest.mark.parametrize("known", ["{tag}", 'W/{tag}, "other"', "*", '"other",{tag}'])
async def test_what_the_browser_has_already_is_not_sent_again(serve: Serve, known: str) -> None:
    server = await serve()
    tag = (await fetch(server, "/client/fastws.js")).headers["etag"]
    again = await fetch(server, "/client/fastws.js", if_none_match=known.format(tag=tag))
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert again.headers["access-control-allow-origin"] == "*"


async def test_an_older_copy_is_replaced(serve: Serve) -> None:
    response = await fetch(await serve(), "/client/fastws.js", if_none_match='"of yesterday"')
    assert response.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/client/nothing.js",
        "/console/..%5Cconsole.html",
        "/console/",
        "/console/console.html",
        "/client/fastws.js%00.html",
        "/client//etc/passwd",
    ],
)
async def test_only_files_that_are_there_can_be_asked_for(serve: Serve, path: str) -> None:
    assert (await fetch(await serve(), path)).status_code == 404


@pytest.mark.parametrize("path", ["/client/..%2Fconsole.html", "/client/%2e%2e%2f%2e%2e%2fserver.py"])
async def test_encoded_dots_and_slashes_are_refused(serve: Serve, path: str) -> None:
    assert (await fetch(await serve(), path)).status_code == 400


async def test_other_methods_are_refused_and_head_has_no_body(serve: Serve) -> None:
    server = await serve()
    refused = await fetch(server, "/console/console.js", "POST")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    head: Any = await fetch(server, "/client/fastws.js", "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 1000
