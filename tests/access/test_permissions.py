"""Who may subscribe and send."""

from __future__ import annotations

import re
import time
import timeit
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.access.permissions import ChannelPatterns, Permissions, any_of
from fastws.config import Config
from fastws.vocabulary.channels import compile_pattern
from fastws.vocabulary.identity import Identity

JOBS = "botrix:jobs:updates"
U1 = Identity("u1", workspace="w1", workspaces=frozenset({"w1", "w2"}))
LIMITED = Identity("u1", channels=("room:*", "inbox:{sub}:**"), publish=("room:1",))


def permissions(*, anonymous_allowed: bool = True, key: bool = True, **settings: Any) -> Permissions:
    return Permissions(Config(allow_anonymous=anonymous_allowed, **settings), key)


NEED_TOKENS = ("rooms", "workspaces")


def both(rules: Permissions, identity: Identity | None, channel: str, dialect: str = "channels") -> str:
    """What is allowed: "", "s" (subscribe), "p" (publish) or "sp"."""
    may_subscribe = rules.may_subscribe(identity, channel, needs_token=dialect in NEED_TOKENS)
    may_publish = rules.may_publish(identity, channel, needs_token=dialect in NEED_TOKENS)
    return "s" * may_subscribe + "p" * may_publish


ANONYMOUS = [
    ("admin", "sp"),
    ("room:1", "sp"),
    ("user:u1", ""),
    ("user:u1:inbox", ""),
    ("workspace:w1", ""),
    ("execution:1", ""),
    ("workflow:1", ""),
    (JOBS, "s"),
    ("users:u1", "sp"),
    ("user", "sp"),
    ("my:user:u1", "sp"),
]


@pytest.mark.parametrize(("channel", "allowed"), ANONYMOUS)
def test_somebody_anonymous_may_do_what_no_pattern_protects(channel: str, allowed: str) -> None:
    assert both(permissions(), None, channel) == allowed


@pytest.mark.parametrize(("channel", "allowed"), ANONYMOUS)
def test_a_token_without_claims_may_do_the_same_beside_its_own(channel: str, allowed: str) -> None:
    assert both(permissions(), Identity("u9"), channel) == allowed


def test_executions_and_workflows_are_open_until_there_is_a_key() -> None:
    open_ = permissions(key=False)
    assert both(open_, None, "execution:1") == both(open_, None, "workflow:1") == "sp"
    assert both(open_, None, "user:u1") == both(open_, None, "workspace:w1") == ""


def test_nobody_is_let_in_without_a_token_where_anonymous_use_is_off() -> None:
    rules = permissions(anonymous_allowed=False)
    for channel in ("admin", "user:u1", JOBS):
        assert both(rules, None, channel) == ""
    assert both(rules, Identity("u1"), "admin") == ""
    assert both(rules, Identity("u1"), JOBS) == "s"


def test_what_holds_for_one_peer_goes_before_what_holds_for_most() -> None:
    for rules, anonymous_allowed in (
        (permissions(anonymous_allowed=False), True),
        (permissions(anonymous_allowed=True), False),
    ):
        for identity in (None, Identity("u1")):
            assert (
                rules.may_publish(identity, "admin", needs_token=False, anonymous_allowed=anonymous_allowed)
                is anonymous_allowed
            )
            assert (
                rules.may_subscribe(identity, "admin", needs_token=False, anonymous_allowed=anonymous_allowed)
                is anonymous_allowed
            )


@pytest.mark.parametrize("dialect", ["channels", "rooms", "workspaces", "jobs"])
@pytest.mark.parametrize("anonymous_allowed", [True, False])
def test_a_token_allows_its_own_user_and_workspaces_everywhere(dialect: str, anonymous_allowed: bool) -> None:
    rules = permissions(anonymous_allowed=anonymous_allowed)
    for channel in ("user:u1", "workspace:w1", "workspace:w2"):
        assert both(rules, U1, channel, dialect) == "sp"
    for channel in ("user:u2", "user:u1:x", "user:", "workspace:w3", "workspace:w1:x", "workspace:"):
        if channel not in ("user:", "workspace:"):
            assert both(rules, U1, channel, dialect) == ""


@pytest.mark.parametrize("dialect", ["rooms", "workspaces"])
@pytest.mark.parametrize("channel", ["admin", "execution:1", "workflow:1", "room:1", "user:u2", "workspace:w9"])
def test_without_the_claim_rooms_and_workspaces_allow_nothing_beyond_ones_own(dialect: str, channel: str) -> None:
    assert both(permissions(), U1, channel, dialect) == ""
    assert both(permissions(), None, channel, dialect) == ""


PATTERNED = [
    ("room:1", "sp"),
    ("room:2", "s"),
    ("room:1:x", ""),
    ("room:", ""),
    ("room", ""),
    ("inbox:u1:a", "s"),
    ("inbox:u1:a:b", "s"),
    ("inbox:u1", ""),
    ("inbox:u2:a", ""),
    ("admin", ""),
    ("execution:1", ""),
    ("user:u1", "sp"),
    (JOBS, "s"),
]


@pytest.mark.parametrize("dialect", ["channels", "rooms", "workspaces"])
@pytest.mark.parametrize(("channel", "allowed"), PATTERNED)
def test_with_the_claims_the_patterns_decide(dialect: str, channel: str, allowed: str) -> None:
    assert both(permissions(), LIMITED, channel, dialect) == allowed


def test_patterns_open_what_is_protected() -> None:
    identity = Identity("u1", channels=("execution:*", "user:**"), publish=())
    assert both(permissions(), identity, "execution:1") == "s"
    assert both(permissions(), identity, "user:u2") == "s"
    assert both(permissions(), identity, "workflow:1") == ""


def test_direct_sends_follow_the_right_to_publish() -> None:
    for anonymous in (True, False):
        rules = permissions(anonymous_allowed=anonymous)
        for needs_token in (True, False):
            is_open = anonymous and not needs_token
            assert rules.may_send_directly(None, needs_token=needs_token) is is_open
            assert rules.may_send_directly(U1, needs_token=needs_token) is is_open
            assert rules.may_send_directly(LIMITED, needs_token=needs_token)
            assert not rules.may_send_directly(Identity("u1", publish=()), needs_token=needs_token)
        assert rules.may_send_directly(None, needs_token=False, anonymous_allowed=not anonymous) is not anonymous


def test_an_empty_claim_allows_nothing_beyond_ones_own() -> None:
    identity = Identity("u1", channels=(), publish=())
    assert both(permissions(), identity, "admin") == ""
    assert both(permissions(), identity, "user:u1") == "sp"


@pytest.mark.parametrize("dialect", ["channels", "rooms", "workspaces", "jobs"])
def test_the_jobs_channel_is_published_by_backends_alone(dialect: str) -> None:
    everything = Identity("u1", workspaces=frozenset({"updates"}), channels=("**",), publish=("**", JOBS))
    for identity in (None, U1, everything):
        assert not permissions().may_publish(identity, JOBS, needs_token=dialect in NEED_TOKENS)
    # Also where a workspace's channel would go by the same name.
    same = permissions(workspace_channel="botrix:jobs:{workspace_id}")
    assert not same.may_publish(everything, JOBS, needs_token=dialect in NEED_TOKENS)
    assert permissions().is_backend_only(JOBS)
    assert not permissions().is_backend_only("admin")


def test_a_protected_jobs_channel_is_not_open_to_listeners() -> None:
    rules = permissions(protected_channels=(JOBS,))
    assert both(rules, None, JOBS) == both(rules, Identity("u1"), JOBS) == ""
    assert both(rules, Identity("u1", channels=(JOBS,)), JOBS) == "s"


def test_protected_channels_are_what_the_setting_says() -> None:
    rules = permissions(protected_channels=("vip:*", "a*z"))
    assert both(rules, None, "vip:1") == both(rules, None, "a-to-z") == ""
    assert both(rules, None, "vip:1:2") == both(rules, None, "user:u1") == "sp"
    assert both(permissions(protected_channels=()), None, "user:u1") == "sp"


@pytest.mark.parametrize("template", ["acme:ws:{workspace_id}", "ws-{workspace_id}", "{workspace_id}:events"])
def test_workspaces_of_another_name_are_protected_all_the_same(template: str) -> None:
    rules = permissions(workspace_channel=template)
    for workspace in ("w1", "a:b", "a:b:c", ":"):
        assert both(rules, None, template.replace("{workspace_id}", workspace)) == ""
    channel = template.replace("{workspace_id}", "w1")
    assert both(rules, None, channel) == ""
    assert both(rules, U1, channel) == "sp"
    assert both(rules, Identity("u2"), channel) == ""


CONFUSABLES = [
    "USER:u1",
    "user:U1",
    "user：u1",
    "user:u1 ",
    "user:u1\x00",
    "user:u1/../u2",
    "user:%75%31",
    "user:ｕ1",
    "user:u1:",
    "user::u1",
    "uѕer:u1",
]


@pytest.mark.parametrize("channel", CONFUSABLES)
def test_what_only_looks_like_an_own_channel_is_none(channel: str) -> None:
    # Where it is open to everybody, it is a channel that nobody's own messages go to.
    assert both(permissions(), U1, channel, "rooms") == ""
    assert channel != "user:u1"


@pytest.mark.parametrize("user", ["*", "**", ".*", "u|1", "(", "[a-z]", "\\", "{sub}", "a:b", "$", "^u1"])
def test_a_user_is_taken_letter_by_letter(user: str) -> None:
    identity = Identity(user, channels=("inbox:{sub}", "x{sub}y:*"), publish=("{sub}",))
    rules = permissions()
    assert both(rules, identity, f"inbox:{user}", "rooms") == "s"
    assert both(rules, identity, f"x{user}y:1", "rooms") == "s"
    assert both(rules, identity, user, "rooms") == "p"
    for channel in ("inbox:u1", "inbox:a", "inbox:", "xu1y:1", "u1", "inbox:{sub}x", "user:u1"):
        assert both(rules, identity, channel, "rooms") == ""


def glob(pattern: str, name: str) -> bool:
    """Whether `pattern` covers `name`, told letter by letter."""
    if pattern == "":
        return name == ""
    if pattern[0] == "*":
        return glob(pattern[1:], name) or (name != "" and name[0] != ":" and glob(pattern, name[1:]))
    return name != "" and pattern[0] == name[0] and glob(pattern[1:], name[1:])


def covers(pattern: str, name: str) -> bool:
    if pattern == "**":
        return name != ""
    if pattern.endswith(":**"):
        head = pattern[:-3]
        cuts = [position for position, letter in enumerate(name[:-1]) if letter == ":"]
        return any(covers(head, name[:cut]) for cut in cuts)
    theirs, mine = name.split(":"), pattern.split(":")
    if len(theirs) != len(mine):
        return False
    return all(
        segment != "" if wanted == "*" else glob(wanted, segment) for wanted, segment in zip(mine, theirs, strict=True)
    )


@given(st.text("ab:*", max_size=8), st.text("ab:", max_size=8))
def test_patterns_cover_what_the_spec_says(pattern: str, name: str) -> None:
    assert (compile_pattern(pattern).fullmatch(name) is not None) is covers(pattern, name)
    assert (ChannelPatterns((pattern,)).covers(name, "a")) is covers(pattern, name)


@pytest.mark.parametrize("pattern", ["*a" * 120, "*" * 250, "**a" * 80, "*a*:" * 60, "a*a*a*a*:**"])
def test_no_pattern_takes_long(pattern: str) -> None:
    names = ["a" * 254 + "b", "a:" * 127 + "b", "aa:" * 85]
    begun = time.thread_time()
    for name in names:
        ChannelPatterns((pattern,)).covers(name, "u1")
    assert time.thread_time() - begun < 0.5


def test_ids_listed_one_by_one_are_covered_exactly() -> None:
    listed = ChannelPatterns(f"execution:{n}" for n in range(500))
    assert listed.covers("execution:499", "u1")
    assert not listed.covers("execution:500", "u1")
    assert not listed.covers("execution:4x", "u2")
    assert not listed.covers("u1\x00execution:1", "u1")


def test_workspaces_are_told_apart_by_the_whole_template() -> None:
    rules = permissions(workspace_channel="a{workspace_id}a")
    identity = Identity("u1", workspaces=frozenset({"w1", "aa"}))
    assert both(rules, identity, "aw1a") == both(rules, identity, "aaaa") == "sp"
    assert both(rules, identity, "aw1", "rooms") == both(rules, identity, "aaa", "rooms") == ""
    assert both(rules, identity, "a", "rooms") == ""


def test_no_pattern_at_all_covers_nothing() -> None:
    assert any_of(()).fullmatch("") is None
    assert isinstance(any_of(()), re.Pattern)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_anonymous_use_is_on_by_default_where_only_this_machine_can_connect(host: str, loopback: bool) -> None:
    assert Permissions(Config(host=host), False).allow_anonymous is loopback
    assert Permissions(Config(host=host, allow_anonymous=True), False).allow_anonymous
    assert not Permissions(Config(host=host, allow_anonymous=False), False).allow_anonymous


def test_a_check_of_somebody_anonymous_is_cheap() -> None:
    rules = permissions()
    runs = timeit.repeat(lambda: rules.may_publish(None, "load:channel:17", needs_token=False), number=20_000, repeat=5)
    # A tenth of what it takes is the promise (0.3 µs); the bound leaves room for a busy machine.
    assert min(runs) / 20_000 < 3e-6


@pytest.mark.parametrize(
    ("patterns", "is_protected", "warnings"),
    [
        (None, ("user:1", "workspace:1:x", "execution:1"), 0),
        (("+order:**",), ("user:1", "workspace:1:x", "execution:1", "order:1"), 0),
        (("+order:**", "secret"), ("user:1", "workspace:1", "order:1", "secret"), 0),
        (("order:**",), ("order:1",), 1),
        (("order:**", "user:**"), ("order:1", "user:1"), 1),
        (("**",), ("user:1", "workspace:1", "anything"), 0),
        ((), (), 1),
    ],
)
def test_a_pattern_with_a_plus_adds_to_the_default_and_opened_channels_are_warned_of(
    patterns: tuple[str, ...] | None, is_protected: tuple[str, ...], warnings: int
) -> None:
    permissions = Permissions(Config(protected_channels=patterns), True)
    names = ("user:1", "workspace:1", "workspace:1:x", "execution:1", "order:1", "secret", "anything")
    protected = {name for name in names if permissions.is_protected(name)}
    assert set(is_protected) <= protected
    if patterns is not None and "**" not in patterns:
        assert "anything" not in protected
    assert len(permissions.warnings) == warnings


def test_the_warning_names_the_channels_that_are_open() -> None:
    (warning,) = Permissions(Config(protected_channels=("user:**",)), True).warnings
    assert warning == "protected_channels leaves workspace:** open to all clients; +PATTERN adds to the default"


@pytest.mark.parametrize("patterns", [None, (), ("other:**",), ("+other:**",)])
def test_nobody_may_subscribe_to_a_mailbox_and_publishing_takes_a_claim(patterns: tuple[str, ...] | None) -> None:
    rules = permissions(protected_channels=patterns)
    for mailbox in ("client:tab", "client:u1:tab"):
        assert rules.is_protected(mailbox)
        assert both(rules, None, mailbox) == ""
        assert both(rules, Identity("u1"), mailbox) == ""
        assert both(rules, Identity("u1", channels=("**", mailbox), publish=("client:**",)), mailbox) == "p"
    assert both(rules, Identity("u1", channels=("clients:*",)), "clients:1") == "sp"
