"""Many processes behind one port: a supervisor that starts workers, restarts the dead, rolls them one by one."""

from fastws.workers.supervisor import Supervisor

__all__ = ["Supervisor"]
