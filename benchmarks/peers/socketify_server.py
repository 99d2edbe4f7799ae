"""socketify (Python bindings of uWebSockets, C++): its topics and `app.publish`."""

from __future__ import annotations

import sys
from typing import Any

from messages import ack, confirmation, delivery, parse
from socketify import App, OpCode

app = App()


def on_message(client: Any, text: Any, opcode: Any) -> None:
    message = parse(text)
    name = message["channel"]
    if message["action"] == "subscribe":
        client.subscribe(name)
        client.send(confirmation(name), OpCode.TEXT)
    else:
        app.publish(name, delivery(message), OpCode.TEXT)
        client.send(ack(name, app.num_subscribers(name)), OpCode.TEXT)


def on_echo(client: Any, text: Any, opcode: Any) -> None:
    client.send(text, opcode)


limits = {"max_payload_length": 1 << 20, "max_backpressure": 64 << 20, "idle_timeout": 120}
app.ws("/echo", {**limits, "message": on_echo})
app.ws("/*", {**limits, "message": on_message})
app.listen(int(sys.argv[1]), lambda config: None)
app.run()
