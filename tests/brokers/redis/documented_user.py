"""The Redis user that the documentation has, made on a real Redis: it may do what is written there and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.redis_server import RedisServer

PAGE = Path(__file__).parents[3] / "fastws" / "docs" / "redis-format.md"


def documented_rule() -> str:
    """The one `ACL SETUSER` line of the page."""
    (rule,) = [line for line in PAGE.read_text().splitlines() if line.startswith("ACL SETUSER ")]
    return rule


def rights_for_webhooks() -> list[str]:
    """The further rights that the page names for webhooks."""
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith("For `webhooks` ")]
    return line.rsplit("`", 2)[1].split(" ")


def rights_in_a_cluster() -> list[str]:
    """The further rights that the page names for a Redis Cluster."""
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith("In a Redis Cluster it also ")]
    return line.split("`")[1].split(" ")


def url_of_documented_user(server: RedisServer, *more: str, database: int = 0) -> str:
    """Make that user on `server`, allowed nothing before but also `more`, and log in as it."""
    _, _, user, *rules = (*documented_rule().split(" "), *more)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", user, "reset", *rules)
        client.execute_command("ACL", "LOG", "RESET")
    return f"unix://{user}:PASSWORD@{server.socket_path}?db={database}"


def denied(server: RedisServer) -> list[str]:
    """What Redis has refused since then, as `reason object`."""
    with server.client() as client:
        return sorted({f"{entry['reason']} {entry['object']}" for entry in client.acl_log()})
