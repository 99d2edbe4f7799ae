"""Bytes of HTTP/1.1 and RFC 6455 to requests and messages and back, without any I/O."""
