"""HTTP endpoints for backends, operators and browsers."""
