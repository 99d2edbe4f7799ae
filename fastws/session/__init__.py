"""The dialogue with one client: what its messages ask for and what it is answered. Knows no socket."""
