"""Calls out of the server: functions and HTTP callbacks of the application, keys of identity providers."""
