"""Fan-out of publications to subscribers: channels, audiences and the tick. Sans-I/O: no sockets, no codecs."""
