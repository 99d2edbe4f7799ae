"""Subscribers of the channels of apps: clients of the app, apart from those of other dialects."""

from __future__ import annotations

from collections.abc import Callable

from fastws.dialects.wire_form import DialectForm
from fastws.hub.hub import Hub
from fastws.hub.ports import WireForm


class AppSubscribers:
    """Counts the subscribers of this process by whether they are clients of the app of the channel.

    `has_app` returns whether a channel belongs to an app; `dialect` is the name of the dialect of all apps.
    """

    def __init__(self, hub: Hub, has_app: Callable[[str], bool], dialect: str) -> None:
        self._hub = hub
        self._has_app = has_app
        self._dialect = dialect

    def others(self, channel: str) -> int:
        """Return the number of subscribers of a channel of an app that are not its clients; 0 for other channels."""
        return self._count(channel, is_client=False)

    def clients(self, channel: str) -> int:
        """Return the number of subscribers of a channel of an app that are its clients; 0 for other channels."""
        return self._count(channel, is_client=True)

    def _count(self, channel: str, *, is_client: bool) -> int:
        found = self._hub.channels.get(channel)
        if found is None or not self._has_app(channel):
            return 0
        audiences = found.audiences.values()
        return sum(len(each.members) for each in audiences if self._is_client(each.form) is is_client)

    def _is_client(self, form: WireForm) -> bool:
        return isinstance(form, DialectForm) and form.dialect.name == self._dialect
