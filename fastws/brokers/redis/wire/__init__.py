"""A Redis client that is independent of the rest of fastws."""
