"""Brokers: they take a publication to every process that has subscribers, and say what they could not."""
