"""The cluster of several processes, over Redis."""
