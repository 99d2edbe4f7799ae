"""The load client: many raw WebSocket clients in a few processes, that count what arrives without decoding it.

Every message carries a stamp (stamp.py) with its place in its channel's sequence and the moment at which it was due, so
that loss, repetition and latency are known at every receiver without a word from the server. Nothing here imports the
server.
"""
