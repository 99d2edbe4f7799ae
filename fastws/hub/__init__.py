"""Who hears what: channels, audiences, the tick. No bytes of its own, no sockets, no JSON."""
