"""The browser client's msgpack against Python's: each reads what the other writes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgpack

from tests.node_packages import run_module

SEED = 20261121
VALUES = 400
ECHO = """
import { decode, encode } from "./client/msgpack.js";
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const written = JSON.parse(Buffer.concat(chunks).toString());
const again = written.map((hex) => Buffer.from(encode(decode(Buffer.from(hex, "hex")))).toString("hex"));
console.log(JSON.stringify(again));
"""


def echoed(values: list[object], folder: Path) -> list[object]:
    """`values` after the client has decoded and encoded them."""
    written = [msgpack.packb(value).hex() for value in values]
    answer = json.loads(run_module(ECHO, folder, given=json.dumps(written)))
    return [msgpack.unpackb(bytes.fromhex(text), strict_map_key=False) for text in answer]


def evaluated(expression: str, folder: Path) -> object:
    """The JSON of a JavaScript expression; it may use `decode`, `encode`, `Ext` and `hex`."""
    source = f"""
    import {{ decode, encode, Ext }} from "./client/msgpack.js";
    const hex = (text) => Uint8Array.from(Buffer.from(text, "hex"));
    const failure = (action) => {{
      try {{ action(); return "none"; }}
      catch (error) {{ return error.constructor.name; }}
    }};
    console.log(JSON.stringify({expression}));
    """
    return json.loads(run_module(source, folder))


def test_integers_of_every_width_come_back_as_they_were(tmp_path: Path) -> None:
    edges = [0, 1, 31, 32, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**53 + 1]
    edges += [2**63 - 1, 2**63, 2**64 - 1]
    values = [*edges, *(-edge for edge in edges if edge <= 2**63)]
    assert echoed(list(values), tmp_path) == values


def test_lengths_of_every_form_come_back_as_they_were(tmp_path: Path) -> None:
    lengths = [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536]
    values: list[object] = []
    for length in lengths:
        values += ["ü" * length, b"\x80" * length, [None] * length, {f"k{n}": n for n in range(length)}]
        values.append(msgpack.ExtType(7, b"x" * max(length, 1)))
    assert echoed(values, tmp_path) == values


def test_random_values_come_back_as_they_were(tmp_path: Path) -> None:
    source = random.Random(SEED)

    def value(depth: int) -> object:
        kind = source.randrange(7 if depth else 5)
        if kind == 0:
            return source.choice([None, True, False, 1.5, -0.25, 1e300, source.random()])
        if kind == 1:
            return source.randint(-(2**63), 2**64 - 1) >> source.randrange(64)
        if kind == 2:
            return "".join(chr(source.choice([0x41, 0xE9, 0x20AC, 0x1F600])) for _ in range(source.randrange(40)))
        if kind == 3:
            return source.randbytes(source.randrange(300))
        if kind == 4:
            return msgpack.ExtType(source.randrange(128), source.randbytes(source.choice([1, 2, 3, 4, 8, 16, 17, 300])))
        if kind == 5:
            return [value(depth - 1) for _ in range(source.randrange(20))]
        return {f"key {n}": value(depth - 1) for n in range(source.randrange(20))}

    values = [value(3) for _ in range(VALUES)]
    assert echoed(values, tmp_path) == values


def test_timestamps_of_all_three_lengths_are_dates(tmp_path: Path) -> None:
    stamps = [msgpack.Timestamp(0, 0), msgpack.Timestamp(1, 500_000_000), msgpack.Timestamp(2**34, 250_000_000)]
    stamps += [msgpack.Timestamp(-1, 999_000_000), msgpack.Timestamp(2**32, 0)]
    assert echoed(list(stamps), tmp_path) == stamps
    assert evaluated('decode(hex("d6ff00000001")) instanceof Date', tmp_path) is True


def test_integers_are_bigints_only_where_a_number_would_lie(tmp_path: Path) -> None:
    numbers = [2**53 - 1, 2**53, -(2**53)]
    written = json.dumps([msgpack.packb(number).hex() for number in numbers])
    kinds = evaluated(f"{written}.map((text) => typeof decode(hex(text)))", tmp_path)
    assert kinds == ["number", "bigint", "bigint"]


def test_invalid_msgpack_raises_an_error(tmp_path: Path) -> None:
    broken = ["", "c1", "92c0", "c0c0", "dfffffffff", "ddffffffff", "d97f41", "a2c328", "91" * 600 + "c0", "c7ff00"]
    results = evaluated(f"{json.dumps(broken)}.map((text) => failure(() => decode(hex(text))))", tmp_path)
    assert isinstance(results, list)
    assert "none" not in results, results


def test_values_that_msgpack_lacks_are_refused(tmp_path: Path) -> None:
    failures = evaluated(
        "[() => 1, Symbol('x'), 2n ** 64n, new Date(NaN)].map((value) => failure(() => encode({ value })))", tmp_path
    )
    assert failures == ["TypeError", "TypeError", "RangeError", "RangeError"]


def test_values_are_encoded_as_json_does(tmp_path: Path) -> None:
    said = evaluated(
        "decode(encode({ gone: undefined, list: [undefined], map: new Map([['a', 1]]), own: { toJSON: () => 5 } }))",
        tmp_path,
    )
    assert said == {"list": [None], "map": {"a": 1}, "own": 5}


def test_a_hostile_key_stays_a_key(tmp_path: Path) -> None:
    packed = msgpack.packb({"__proto__": {"polluted": True}}).hex()
    assert evaluated(f'[decode(hex("{packed}")).polluted ?? null, ({{}}).polluted ?? null]', tmp_path) == [None, None]
