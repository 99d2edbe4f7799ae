"""Values to bytes and back: orjson text and msgpack binary."""
