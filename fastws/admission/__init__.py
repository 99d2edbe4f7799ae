"""Decides whether a request is admitted. Knows no transport."""
