"""A subscriber of workspace A gets nothing of workspace B, whatever else happens."""

from __future__ import annotations

import random

from tests.serving import Join, Serve, Talker

WORKSPACES = ("w1", "w2", "w3")
EVENTS = ("alert", "execution_started", "metrics_update")


async def test_no_event_of_another_workspace_ever_arrives(serve: Serve, join: Join) -> None:
    chance = random.Random(20261121)
    server = await serve()
    clients: list[tuple[Talker, str, set[str] | None]] = []
    expected: dict[Talker, list[int]] = {}
    said = 0
    for _ in range(1500):
        step = chance.random()
        if step < 0.1 and len(clients) < 24:
            workspace, codec = chance.choice(WORKSPACES), chance.choice(("json", "msgpack"))
            token = server.tokens.sign("u", workspaces=chance.sample(WORKSPACES, 3))
            client = await join(server, "/ws", token=token, workspace_id=workspace, format=codec)
            clients.append((client, workspace, None))
            expected[client] = []
        elif step < 0.2 and clients:
            place = chance.randrange(len(clients))
            client, workspace, wanted = clients[place]
            await hear_all(client, expected[client])
            names = chance.sample(EVENTS, chance.randint(1, 2))
            reply = await client.ask({"type": "subscribe", "event_types": names})
            wanted = (wanted or set()) | set(names)
            assert set(reply["event_types"]) == wanted
            clients[place] = (client, workspace, wanted)
        elif step < 0.25 and clients:
            client, _, _ = clients.pop(chance.randrange(len(clients)))
            await hear_all(client, expected[client])
            await client.socket.close()
        else:
            workspace, event = chance.choice(WORKSPACES), chance.choice(EVENTS)
            said += 1
            await server.broadcaster.publish(f"workspace:{workspace}", event, {"n": said, "of": workspace})
            for client, home, wanted in clients:
                if home == workspace and (wanted is None or event in wanted):
                    expected[client].append(said)
    for client, workspace, _ in clients:
        assert all(of == workspace for of in await hear_all(client, expected[client]))
        await client.hears_nothing()


async def hear_all(client: Talker, numbers: list[int]) -> list[str]:
    """Receive all that was published so far, which must be exactly these in this order. Returns their workspaces."""
    heard = [(await client.hear())["data"] for _ in numbers]
    assert [data["n"] for data in heard] == numbers
    numbers.clear()
    await client.hears_nothing()
    return [data["of"] for data in heard]
