"""Checks of the machine, the settings, Redis and external services, with suggested fixes."""
