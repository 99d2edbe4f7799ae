"""The HTTP side: what backends, operators and browsers ask over plain requests."""
