"""An index: finds items by a key that several items may have, such as the connections of a user."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Index(Generic[T]):
    """Items by key, in the order in which they were added. All methods but `of` have constant cost.

    A key with one item costs an entry of a dict, about 40 bytes; only several items get a dict of their own. An item
    must not be a dict.
    """

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[str, T | dict[T, None]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def add(self, key: str, item: T) -> None:
        """Add `item`, which is not yet in the index, under `key`."""
        found = self._items.get(key)
        if found is None:
            self._items[key] = item
        elif isinstance(found, dict):
            found[item] = None
        else:
            self._items[key] = {found: None, item: None}

    def remove(self, key: str, item: T) -> None:
        """Remove `item`, if it is there, from `key`."""
        found = self._items.get(key)
        if isinstance(found, dict):
            found.pop(item, None)
            if not found:
                del self._items[key]
        elif found is item:
            del self._items[key]

    def count(self, key: str) -> int:
        """Return the number of items of `key`."""
        found = self._items.get(key)
        if found is None:
            return 0
        return len(found) if isinstance(found, dict) else 1

    def of(self, key: str) -> list[T]:
        """Return the items of `key`."""
        found = self._items.get(key)
        if found is None:
            return []
        return list(found) if isinstance(found, dict) else [found]

    def rotate(self, key: str) -> T:
        """Return the first item of `key`, which becomes the last one. Raises KeyError if there is none."""
        found = self._items[key]
        if not isinstance(found, dict):
            return found
        first = next(iter(found))
        del found[first]
        found[first] = None
        return first

    def keys(self) -> list[str]:
        """Return all keys that have items."""
        return list(self._items)
