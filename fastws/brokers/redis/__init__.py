"""The broker for many processes, over Redis."""
