"""A Redis client that knows nothing of fastws."""
