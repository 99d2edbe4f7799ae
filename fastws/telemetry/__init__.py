"""Metrics in the text format of Prometheus, of one process or of all workers."""
