"""Client ids, the same in all dialects: the query of the upgrade, keys in greetings and deliveries."""

from __future__ import annotations

from collections.abc import Mapping

from fastws.dialects.dialect import StartingChannels, StartingMailbox
from fastws.dialects.fields import Message
from fastws.dialects.history import past_of_query, standing_fields
from fastws.errors import BadRequest, Forbidden
from fastws.vocabulary.channels import MAX_NAME_LENGTH
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.mailboxes import Mailbox, is_client_id, is_mailbox, mailbox_channel
from fastws.vocabulary.replies import MailboxStanding

# The parameter in the query of an upgrade, and the claim of a token.
CLIENT_ID = "client_id"


def with_mailbox(starting: StartingChannels, identity: Identity | None, query: Mapping[str, str]) -> StartingMailbox:
    """Return `starting` with the mailbox of the client id in `query`. Raises BadRequest and Forbidden."""
    client_id = query[CLIENT_ID]
    if not is_client_id(client_id):
        raise BadRequest(f"`{CLIENT_ID}` must be 1 to 128 characters of A-Z, a-z, 0-9 and _ . @ -")
    check_claim(identity, client_id)
    channel = mailbox_channel(client_id, None if identity is None else identity.user)
    if len(channel) > MAX_NAME_LENGTH:
        raise BadRequest(f"`{CLIENT_ID}` is too long: {channel[:32]!r}… must have at most {MAX_NAME_LENGTH} characters")
    mailbox = Mailbox(client_id, channel, past_of_query(query, "client_"))
    return StartingMailbox(starting.channels, starting.home, starting.workspace, starting.wanted, own_mailbox=mailbox)


def check_claim(identity: Identity | None, client_id: str) -> None:
    """Raise Forbidden if the token is for another client id."""
    claimed = None if identity is None else identity.claims.get(CLIENT_ID)
    if claimed is not None and claimed != client_id:
        raise Forbidden(
            f"the token is for another client: its claim `{CLIENT_ID}` and `?{CLIENT_ID}=` must be the same",
            cause=f"the token's client_id is not {client_id!r}",
        )


def client_field(standing: MailboxStanding | None) -> Message:
    """Return the key `client` of a greeting; none for a client without a client id."""
    if standing is None:
        return {}
    return {"client": {"channel": standing.channel, **standing_fields(standing.standing)}}


def mailbox_field(channel: str) -> Message:
    """Return the key `channel` of a notice about a mailbox; none for one about another channel."""
    return {"channel": channel} if is_mailbox(channel) else {}
