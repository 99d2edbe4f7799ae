"""Dialects: translators between the client protocols and the commands, replies and publications of the server."""
