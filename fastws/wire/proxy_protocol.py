"""The PROXY protocol, versions 1 and 2: what a proxy says of its client before the first byte of the client's own."""

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
# Addresses and the TLVs that a proxy adds (certificates, ids); the length field alone would allow 64 KiB.
_V2_MAX_REST_BYTES: Final = 4096
_LOCAL, _PROXY = 0, 1
# Address family and transport to the bytes of one address: only TCP over IPv4 or IPv6 says who the client is.
_V2_ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}


@dataclass(slots=True, frozen=True)
class ProxyHeader:
    """`source` is the client's address; None where the proxy speaks for itself (health checks) or does not know.

    `size` is the header's length in bytes: what follows is the client's own. `is_own`: the proxy speaks for itself.
    """

    source: str | None
    size: int
    is_own: bool = False


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header that `data` begins with; None while more bytes are needed (never more than 4 KiB and a head).

    Raises BadRequest as soon as no further byte can make one: the protocol's rule is to end such a connection, not
    to guess (section 2).
    """
    if data.startswith(_V2_START):
        return _read_v2(data)
    if data.startswith(_V1_START):
        return _read_v1(data)
    if _V2_START.startswith(data) or _V1_START.startswith(data):
        return None
    raise BadRequest("a PROXY protocol header is expected from this address")


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
        raise BadRequest("the PROXY protocol line contradicts itself")
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
