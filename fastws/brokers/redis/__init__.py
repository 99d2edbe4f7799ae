"""The broker over Redis."""
