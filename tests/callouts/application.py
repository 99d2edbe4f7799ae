"""An application of the tests: functions that `event_hook` can name, in the manner of Lambda functions."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

Event = dict[str, Any]

# What was told, in order; and what the functions wait for. Reset by the fixture `told`.
events: asyncio.Queue[Event]
answers: dict[str, Any]
hold: asyncio.Event
loop: asyncio.AbstractEventLoop
threads: set[str]


def reset() -> None:
    global events, answers, hold, loop, threads
    events, hold, loop = asyncio.Queue(), asyncio.Event(), asyncio.get_running_loop()
    answers, threads = {}, set()


def lambda_handler(event: Event, context: None) -> Any:
    """As Lambda functions are written: sync, two arguments."""
    assert context is None
    threads.add(threading.current_thread().name)
    loop.call_soon_threadsafe(events.put_nowait, event)
    return answers.get(event["requestContext"]["routeKey"], {"statusCode": 200})


async def coroutine(event: Event) -> Any:
    events.put_nowait(event)
    answer = answers.get(event["requestContext"]["routeKey"])
    if isinstance(answer, Exception):
        raise answer
    return answer


async def echo(event: Event) -> Any:
    return {"statusCode": 200, "body": event.get("body")}


async def binary(event: Event) -> Any:
    return {"statusCode": 200, "body": "gaFuAQ==", "isBase64Encoded": True}


async def slow(event: Event) -> Any:
    """Answers messages when `hold` is set; says yes to connects at once."""
    events.put_nowait(event)
    if event["requestContext"]["routeKey"] == "$default":
        await hold.wait()
    return {"statusCode": 200, "body": json.dumps({"answer to": json.loads(event.get("body", "null"))})}


async def silent(event: Event) -> Any:
    """Never answers a connect."""
    events.put_nowait(event)
    await asyncio.Event().wait()


not_callable = 1


async def slow_connect(event: Event) -> Any:
    """Says yes to connects when `hold` is set."""
    events.put_nowait(event)
    if event["requestContext"]["routeKey"] == "$connect":
        await hold.wait()
