"""The contract that keeps the Redis client independent of fastws names every other module of fastws."""

from __future__ import annotations

import pkgutil
import tomllib
from pathlib import Path

import fastws
import fastws.brokers
import fastws.brokers.redis
from fastws.brokers.redis import wire

PROJECT = Path(__file__).parents[4]
ALLOWED = {"fastws.errors", "fastws.backoff", "fastws.redis_address", "fastws.resolver", "fastws.throttled_log"}
# Packages that contain the client: their other modules are named one by one.
ANCESTORS = (fastws, fastws.brokers, fastws.brokers.redis)


def test_the_contract_forbids_all_modules_but_the_allowed_ones() -> None:
    known = {
        module.name
        for package in ANCESTORS
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
        if not module.name.endswith("__main__")
    }
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (forbidden,) = (
        set(contract["forbidden_modules"])
        for contract in contracts
        if contract.get("source_modules") == [wire.__name__]
    )
    inside = {wire.__name__, *(package.__name__ for package in ANCESTORS)}
    assert forbidden == known - ALLOWED - inside
