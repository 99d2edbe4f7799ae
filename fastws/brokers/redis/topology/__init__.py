"""Maps channels and the data of the cluster to Redis nodes."""
