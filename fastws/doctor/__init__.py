"""The doctor: what of machine, settings and Redis stands in the way of many connections, and what to do about it."""
