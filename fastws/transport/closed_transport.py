"""The transport of a connection whose socket is closed: it takes everything and does nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final


class ClosedTransport(asyncio.Transport):
    """Replaces a connection's transport once the socket is closed.

    The connection and its transport refer to each other, and with TLS the transport holds some 40 KB: without this
    they would stay in memory until the garbage collector looks at the oldest generation.
    """

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return True

    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None: ...
    def write_eof(self) -> None: ...

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


CLOSED: Final = ClosedTransport()
