"""Checks of history and presence: patterns without effect, and whether Redis lets fastws keep publications."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from fastws.brokers.redis.acl import acl_rule
from fastws.config import Config
from fastws.doctor.finding import Finding, fail, ok, warn
from fastws.errors import ConfigError
from fastws.settings import history_rules, presence_intervals, presence_modes
from fastws.vocabulary.channels import matches

NO_EVICTION: Final = "noeviction"
# Stands for what a `*` matches: no real channel has this name.
_ANY: Final = "-any-"
_EVERY: Final = "**"

Table = Sequence[tuple[str | None, object]]


def check_history(config: Config) -> Iterator[Finding]:
    """Yield the findings on the settings of history and presence. Invalid ones are found by the check `settings`."""
    try:
        history, presence = history_rules(config), presence_modes(config)
        updates = presence_intervals(config)
    except ConfigError:
        return
    yield from _unused("history", "history", history)
    yield _history(config, history)
    yield from _unused("presence", "presence", presence)
    yield from _unused("presence", "presence_updates", updates)
    yield from _without_presence(presence, updates)
    yield _presence(presence)


def _history(config: Config, rules: Table) -> Finding:
    kept = [pattern or _EVERY for pattern, rule in rules if rule is not None]
    if not kept:
        return ok("history", "off: clients that return may have missed messages")
    if not config.recover_limit:
        return warn(
            "history",
            "recover_limit is 0: nothing is replayed to clients that return",
            "set recover_limit to the largest COUNT in history",
        )
    where = "the memory of this process, until it ends" if config.redis_url is None else "Redis"
    return ok("history", f"{', '.join(kept)} in {where}")


def _presence(modes: Table) -> Finding:
    shown = [pattern or _EVERY for pattern, mode in modes if mode is not None]
    return ok("presence", ", ".join(shown) or "off")


def _unused(check: str, setting: str, table: Table) -> Iterator[Finding]:
    """Yield a warning for each pattern whose channels are all covered by earlier ones."""
    for place, (pattern, _) in enumerate(table):
        earlier = [other for other, _ in table[:place]]
        if earlier and all(any(_covers(other, channel) for other in earlier) for channel in _examples(pattern)):
            yield warn(
                check,
                f"{setting}: {pattern or _EVERY} has no effect, earlier patterns cover all its channels",
                "the first pattern that matches decides: put narrower patterns first",
            )


def _without_presence(presence: Table, updates: Table) -> Iterator[Finding]:
    """Yield a warning for each pattern of presence_updates that has no channel with presence."""
    shown = [pattern for pattern, mode in presence if mode is not None]
    for pattern, seconds in updates:
        overlaps = any(
            _covers(other, channel) or _covers(pattern, example)
            for other in shown
            for channel in _examples(pattern)
            for example in _examples(other)
        )
        if seconds is not None and not overlaps:
            yield warn(
                "presence",
                f"presence_updates: {pattern} covers no channel with presence, and has no effect",
                "set presence to the same pattern",
            )


def _examples(pattern: str | None) -> list[str]:
    """Return channels that `pattern` matches: together they show which other patterns cover it."""
    pattern = _EVERY if pattern is None else pattern
    if not (pattern == _EVERY or pattern.endswith(":**")):
        return [pattern.replace("*", _ANY)]
    start = pattern[: -len(_EVERY)].replace("*", _ANY)
    return [f"{start}{_ANY}", f"{start}{_ANY}:{_ANY}", f"{start}{_ANY}:{_ANY}:{_ANY}"]


def _covers(pattern: str | None, channel: str) -> bool:
    return pattern is None or matches(pattern, channel)


def check_history_in_redis(
    config: Config, info: Mapping[str, Any], user: str, may: Callable[[tuple[str, ...]], bool]
) -> Iterator[Finding]:
    """Yield the finding on what the settings keep in Redis, from INFO and from `may(command)`."""
    if not any(rule for _, rule in history_rules(config)):
        return
    check = "redis history"
    missing = [name for name, command in _commands(config.redis_prefix) if not may(command)]
    policy = str(info.get("maxmemory_policy", NO_EVICTION))
    if missing:
        yield fail(check, f"{user} may not use {', '.join(missing)}: nothing can be kept", acl_rule(config, user))
    elif int(info.get("maxmemory", 0)) and policy != NO_EVICTION:
        yield warn(
            check,
            f"maxmemory-policy {policy} may evict kept publications: clients that return get recovered: false",
            f"use a separate Redis for fastws, with CONFIG SET maxmemory-policy {NO_EVICTION}",
        )
    else:
        yield ok(check, f"{user} may keep publications, and Redis does not evict them")


def _commands(prefix: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield name and arguments of what fastws calls for history, on a key that nobody uses and that is deleted."""
    key = f"{prefix}{{doctor}}:stream"
    for words, arguments in (
        ("INFO", ("server",)),
        ("SCRIPT LOAD", ("return 1",)),
        ("EVALSHA", ("0" * 40, "0")),
        ("XADD", (key, "MAXLEN", "=", "1", "1-0", "e", "")),
        ("PEXPIRE", (key, "1000")),
        ("PTTL", (key,)),
        ("XRANGE", (key, "-", "+")),
        ("XREVRANGE", (key, "+", "-")),
        ("DEL", (key,)),
        ("HGET", (key, "top")),
        ("HMGET", (key, "top")),
        ("SCAN", ("0", "COUNT", "1")),
        ("PUBSUB NUMSUB", (f"{prefix}doctor",)),
    ):
        yield words, (*words.split(), *arguments)
