"""Codecs: JSON in text frames and msgpack in binary frames."""
