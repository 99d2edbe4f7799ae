"""The cluster: what the processes of one installation know of each other."""
