"""One client: its socket, its states, its session, and the outbox of what it has not read. The asyncio edge."""
