"""The PROXY protocol, versions 1 and 2: a header with the client's address, sent by a proxy before other bytes."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from fastws.errors import BadRequest

# https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, sections 2.1 and 2.2.
_V1_START: Final = b"PROXY "
_V1_MAX_BYTES: Final = 107
_V1_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [\x20-\x7e]*)?|TCP([46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) ([0-9]{1,5}) ([0-9]{1,5}))"
)
_V2_START: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD_BYTES: Final = 16
# Addresses and TLVs of the proxy (certificates, ids). The length field would allow 64 KiB.
_V2_MAX_REST_BYTES: Final = 4096
_LOCAL, _PROXY = 0, 1
# Address family and transport to the bytes of one address. Only TCP over IPv4 and IPv6 is supported.
_V2_ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}


@dataclass(slots=True, frozen=True)
class ProxyHeader:
    """A PROXY header. `source` is the address of the client, or None if it is unknown or there is no client.

    `size` is the length of the header in bytes; the client's bytes follow. `is_own`: the proxy connects on its own
    behalf, for example for a health check (version 2, command LOCAL).
    """

    source: str | None
    size: int
    is_own: bool = False


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Parse the header at the start of `data`. Returns None if more bytes are needed (at most 4 KiB plus 16 bytes).

    Raises BadRequest as soon as `data` cannot be a header: the protocol requires closing the connection instead of
    guessing (section 2).
    """
    if data.startswith(_V2_START):
        return _read_v2(data)
    if data.startswith(_V1_START):
        return _read_v1(data)
    if _V2_START.startswith(data) or _V1_START.startswith(data):
        return None
    raise BadRequest("a connection from this address must begin with a PROXY protocol header")


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _V1_MAX_BYTES)
    if end < 0:
        if len(data) >= _V1_MAX_BYTES:
            raise BadRequest("the PROXY protocol line is too long")
        return None
    match = _V1_LINE.fullmatch(data, 0, end)
    if match is None:
        raise BadRequest("the PROXY protocol line is malformed")
    size = end + 2
    version, source, destination, *ports = match.groups()
    if version is None:
        return ProxyHeader(None, size)
    try:
        addresses = [ipaddress.ip_address(raw.decode("ascii")) for raw in (source, destination)]
    except ValueError:
        raise BadRequest("the PROXY protocol line has a malformed address") from None
    if any(address.version != int(version) for address in addresses) or any(int(port) > 65535 for port in ports):
        raise BadRequest("the PROXY protocol line has a port above 65535 or addresses of the wrong family")
    return ProxyHeader(str(addresses[0]), size)


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_HEAD_BYTES:
        return None
    version, command = data[12] >> 4, data[12] & 0x0F
    if version != 2 or command not in (_LOCAL, _PROXY):
        raise BadRequest("the PROXY protocol header has an unknown version or command")
    rest = int.from_bytes(data[14:16], "big")
    if rest > _V2_MAX_REST_BYTES:
        raise BadRequest("the PROXY protocol header is too long")
    size = _V2_HEAD_BYTES + rest
    if len(data) < size:
        return None
    address_bytes = _V2_ADDRESS_BYTES.get(data[13])
    if command == _LOCAL or address_bytes is None:
        return ProxyHeader(None, size, is_own=command == _LOCAL)
    if rest < 2 * address_bytes + 4:
        raise BadRequest("the PROXY protocol header is shorter than its addresses")
    source = ipaddress.ip_address(data[_V2_HEAD_BYTES : _V2_HEAD_BYTES + address_bytes])
    return ProxyHeader(str(source), size)
