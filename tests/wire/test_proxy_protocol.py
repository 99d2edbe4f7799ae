"""The PROXY protocol's header: both versions, cut anywhere, and everything that is none."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.errors import BadRequest
from fastws.wire.proxy_protocol import ProxyHeader, read_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(
    source: str = "192.0.2.1", destination: str = "192.0.2.2", *, command: int = 1, version: int = 2, more: bytes = b""
) -> bytes:
    addresses = [ipaddress.ip_address(text) for text in (source, destination)]
    family = 0x11 if addresses[0].version == 4 else 0x21
    rest = addresses[0].packed + addresses[1].packed + b"\x1f\x90\x00\x50" + more
    return SIGNATURE + bytes((version << 4 | command, family)) + len(rest).to_bytes(2, "big") + rest


HEADERS = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 8080 80\r\n", "192.0.2.1"),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 8080 80\r\n", "2001:db8::1"),
    (b"PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::1 65535 0\r\n", "2001:db8::1"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (v2(), "192.0.2.1"),
    (v2("2001:db8::1", "2001:db8::2"), "2001:db8::1"),
    (v2(more=b"\x04\x00\x03abc"), "192.0.2.1"),
    (v2(command=0), None),
    (SIGNATURE + b"\x20\x00\x00\x00", None),
    (SIGNATURE + b"\x21\x31\x00\xd8" + b"/" * 216, None),
]


@pytest.mark.parametrize(("header", "source"), HEADERS)
@pytest.mark.parametrize("more", [b"", b"GET / HTTP/1.1\r\n"])
def test_a_header_says_who_the_client_is_and_where_its_bytes_begin(
    header: bytes, source: str | None, more: bytes
) -> None:
    is_own = header.startswith(SIGNATURE + b"\x20")  # LOCAL: a proxy that looks whether we are there
    assert read_proxy_header(header + more) == ProxyHeader(source, len(header), is_own=is_own)


@pytest.mark.parametrize(("header", "source"), HEADERS)
def test_a_header_cut_anywhere_is_waited_for(header: bytes, source: str | None) -> None:
    assert [read_proxy_header(header[:cut]) for cut in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 8080\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 8080 80 \r\n",
        b"PROXY  TCP4 192.0.2.1 192.0.2.2 8080 80\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 8080 65536\r\n",
        b"PROXY TCP4 192.0.2.256 192.0.2.2 8080 80\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 8080 80\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 8080 80\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 8080 80\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 8080 80\n" + b"x" * 107,
        b"PROXY TCP4 " + b"1" * 107,
        b"PROXY\r\n",
        b"proxy UNKNOWN\r\n",
        SIGNATURE[:-1] + b"x",
        v2(version=1),
        v2(command=2),
        SIGNATURE + b"\x21\x11\x00\x04" + b"1234",
        SIGNATURE + b"\x21\x21\x00\x0c" + b"1" * 12,
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_no_header_is_refused_as_soon_as_that_is_certain(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read_proxy_header(data)


@given(st.binary(max_size=300), st.integers(0, 16))
def test_no_bytes_make_anything_but_a_header_a_refusal_or_a_wait(data: bytes, kept: int) -> None:
    for start in (b"", b"PROXY ", SIGNATURE, v2()[:kept]):
        try:
            header = read_proxy_header(start + data)
        except BadRequest:
            continue
        assert header is None or 0 < header.size <= len(start + data)
        assert header is not None or len(start + data) < 16 + 4096


def test_no_more_than_four_kilobytes_are_waited_for() -> None:
    assert read_proxy_header(SIGNATURE + b"\x21\x11\x10\x00") is None
    with pytest.raises(BadRequest, match="too long"):
        read_proxy_header(SIGNATURE + b"\x21\x11\x10\x01")
