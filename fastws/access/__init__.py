"""Authentication and access control: tokens, permissions, revocations, keys and rate limits."""
