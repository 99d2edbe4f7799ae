"""The server: one process of fastws."""
