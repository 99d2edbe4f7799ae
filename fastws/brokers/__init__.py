"""Brokers: they deliver each publication to all processes with subscribers, and report the outcome."""
