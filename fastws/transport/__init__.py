"""Sockets: HTTP and WebSocket connections, their outboxes and their end."""
