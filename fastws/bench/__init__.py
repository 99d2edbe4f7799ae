"""The load client: many raw WebSocket clients in a few processes, which count messages without decoding them.

Every message carries a timestamp (timestamp.py): its sequence number in the channel and the time at which it was due.
Each receiver detects loss, repetition and latency from that, without help from the server. Nothing here imports the
server.
"""
