"""Several worker processes on one port, started and restarted by a supervisor."""

from fastws.workers.supervisor import Supervisor

__all__ = ["Supervisor"]
