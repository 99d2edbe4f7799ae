"""An index against a plain dict of lists."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastws.hub.index import Index

STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "rotate"]), st.sampled_from("xyz"), st.integers(0, 4)), max_size=60
)


@given(STEPS)
def test_an_index_has_what_was_added_and_not_removed(steps: list[tuple[str, str, int]]) -> None:
    index: Index[int] = Index()
    model: dict[str, list[int]] = {}
    for step, key, item in steps:
        items = model.setdefault(key, [])
        if step == "add" and item not in items:
            index.add(key, item)
            items.append(item)
        elif step == "rotate" and items:
            assert index.rotate(key) == items[0]
            items.append(items.pop(0))
        elif step == "remove":
            index.remove(key, item)
            if item in items:
                items.remove(item)
        for name in "xyz":
            expected = model.get(name, [])
            assert (index.of(name), index.count(name), name in index) == (expected, len(expected), bool(expected))
        assert set(index.keys()) == {name for name, items in model.items() if items}
