"""What becomes of a publication, in one line at level debug."""

from __future__ import annotations

from structlog.testing import capture_logs

from fastws.errors import BrokerUnavailable
from fastws.hub.publication_log import LoggedReceipt
from fastws.vocabulary.publication import Encoded, Publication
from tests.hub.members import Note

PUBLICATION = Publication("news", "hello", {"secret": "x" * 100})


def test_the_result_is_logged_and_passed_on() -> None:
    note = Note()
    with capture_logs() as lines:
        LoggedReceipt(PUBLICATION, "client", note).done(5, 1)
    [line] = lines
    assert 100 < line.pop("bytes") < 130
    assert line == {
        "event": "published",
        "log_level": "debug",
        "channel": "news",
        "connection": None,
        "event_name": "hello",
        "source": "client",
        "sent": 5,
        "failed": 1,
    }
    assert note.outcomes == [(5, 1)]
    assert "secret" not in str(lines)


def test_a_refusal_is_logged_and_passed_on() -> None:
    note, error = Note(), BrokerUnavailable("Redis does not answer")
    with capture_logs() as lines:
        LoggedReceipt(PUBLICATION, "http", note).refused(error)
    assert (lines[0]["event"], lines[0]["code"], lines[0]["reason"]) == (
        "not published",
        "broker_unavailable",
        "Redis does not answer",
    )
    assert note.outcomes == [error]


def test_a_publication_without_a_receipt_and_one_for_a_connection() -> None:
    with capture_logs() as lines:
        LoggedReceipt(Publication("news", "e", Encoded("json", b"[1]")), "redis", None).done(2, 0)
        LoggedReceipt(Publication("", "e"), "client", None, "abc").refused(BrokerUnavailable("away"))
    assert (lines[0]["bytes"], lines[0]["sent"]) == (3, 2)
    assert (lines[1]["channel"], lines[1]["connection"]) == (None, "abc")
