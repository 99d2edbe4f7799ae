"""A client of Redis Cluster with the interface of a client of one Redis: a commander and a listener."""
