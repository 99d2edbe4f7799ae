"""fastws: a WebSocket publish/subscribe server that fans out as fast as the kernel lets anyone do it."""

__version__ = "0.1.0"
