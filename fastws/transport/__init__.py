"""Sockets: HTTP and WebSocket connections, their queues and their end."""
