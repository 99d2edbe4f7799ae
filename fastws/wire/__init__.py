"""Parsers and serializers for HTTP/1.1 and RFC 6455, without I/O."""
