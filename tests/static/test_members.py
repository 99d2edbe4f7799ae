"""The list of members that usePresence shows, under node: updates, a limit, and answers that come late."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.node_packages import run_module

START = """
import { MemberList } from "./client/members.js";
const member = (name) => ({ connection_id: name });
const members = (names) => [...names].map(member);
const page = (names, count = names.length, cursor = null) => ({ count, users: count, members: members(names), cursor });
const update = (joined, left, count) =>
  ({ joined: members(joined), left: members(left), count, users: count, partial: false });
const partial = (count) => ({ joined: [], left: [], count, users: count, partial: true });
const seen = [];
/** Notes what is shown, and whether the last call has asked for the members. */
const note = (list, asks) => {
  const { count, members, isComplete } = list.shown;
  seen.push([members.map((one) => one.connection_id).join(""), count, isComplete, asks]);
};
const begin = (limit, first) => {
  const list = new MemberList(limit);
  note(list, list.answered(list.ask(), first));
  return list;
};
"""
END = "\nconsole.log(JSON.stringify(seen));"
Seen = list[list[Any]]


def seen(source: str, folder: Path) -> Seen:
    """[names, count, isComplete, whether it asked] at each note."""
    found: Seen = json.loads(run_module(START + source + END, folder))
    return found


def test_updates_are_applied_left_before_joined(tmp_path: Path) -> None:
    source = """
    const list = begin(10, page("ab"));
    note(list, list.update(update("c", "a", 2)));
    note(list, list.update(update("b", "b", 2)));
    """
    assert seen(source, tmp_path) == [["ab", 2, True, False], ["bc", 2, True, False], ["cb", 2, True, False]]


def test_above_the_limit_some_are_shown_and_below_it_all_again(tmp_path: Path) -> None:
    source = """
    const list = begin(3, page("ab"));
    note(list, list.update(update("cd", "", 4)));
    note(list, list.update(update("", "a", 3)));
    note(list, list.answered(list.ask(), page("bcd")));
    """
    assert seen(source, tmp_path) == [
        ["ab", 2, True, False],
        ["abc", 4, False, False],
        ["bc", 3, False, True],
        ["bcd", 3, True, False],
    ]


def test_after_a_partial_update_the_members_are_asked_for(tmp_path: Path) -> None:
    source = """
    const list = begin(300, page("ab"));
    note(list, list.update(partial(200)));
    note(list, list.answered(list.ask(), page("abcde", 200)));
    """
    assert seen(source, tmp_path) == [["ab", 2, True, False], ["ab", 200, True, True], ["abcde", 200, True, False]]


def test_after_a_partial_update_above_the_limit_nobody_is_shown_who_may_have_left(tmp_path: Path) -> None:
    source = """
    const list = begin(2, page("ab", 500, "b"));
    note(list, list.update(partial(400)));
    note(list, list.update(update("z", "b", 400)));
    note(list, list.update(partial(2)));
    note(list, list.answered(list.ask(), page("yz")));
    """
    assert seen(source, tmp_path) == [
        ["ab", 500, False, False],
        ["", 400, False, False],
        ["z", 400, False, False],
        ["z", 2, False, True],
        ["yz", 2, True, False],
    ]


def test_a_complete_list_is_asked_for_whatever_the_number_of_clients_without_a_token(tmp_path: Path) -> None:
    source = """
    const list = begin(2, page("ab", 500));
    note(list, list.update(partial(400)));
    note(list, list.answered(list.ask(), page("b", 400)));
    """
    assert seen(source, tmp_path) == [["ab", 500, True, False], ["ab", 400, True, True], ["b", 400, True, False]]


def test_updates_that_come_before_the_answer_are_applied_to_it_and_a_partial_one_asks_again(tmp_path: Path) -> None:
    source = """
    const list = begin(10, page("ab"));
    let request = list.ask();
    note(list, list.update(update("", "b", 1)));
    note(list, list.answered(request, page("ab")));
    request = list.ask();
    note(list, list.update(partial(3)));
    note(list, list.answered(request, page("a")));
    """
    assert seen(source, tmp_path)[1:] == [
        ["a", 1, True, False],
        ["a", 1, True, False],
        ["a", 3, True, False],
        ["a", 3, True, True],
    ]


def test_only_the_latest_request_counts(tmp_path: Path) -> None:
    source = """
    const list = begin(10, page("ab"));
    const [early, late] = [list.ask(), list.ask()];
    note(list, list.answered(early, page("old")));
    note(list, list.failed(early, false));
    note(list, list.answered(late, page("new")));
    """
    assert [names for names, *_ in seen(source, tmp_path)] == ["ab", "ab", "ab", "new"]


def test_a_failed_request_shows_nobody_unless_the_connection_was_lost(tmp_path: Path) -> None:
    source = """
    const list = begin(10, page("ab"));
    note(list, list.failed(list.ask(), true));
    note(list, list.failed(list.ask(), false));
    note(list, list.update(update("c", "", 3)));
    """
    assert seen(source, tmp_path)[1:] == [["ab", 2, True, True], ["", 2, False, True], ["c", 3, False, True]]


def test_a_channel_with_figures_only_is_asked_once(tmp_path: Path) -> None:
    source = """
    const list = begin(10, { count: 3, users: 2 });
    note(list, list.update({ joined: [], left: [], count: 4, users: 3, partial: false }));
    """
    assert seen(source, tmp_path) == [["", 3, False, False], ["", 4, False, False]]
