"""Every input that a fuzzer has begun with or stumbled over, and a few thousand random changes of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

CASES = sorted((Path(__file__).parent / "cases").glob("*/*"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_once_broke_a_promise_keeps_it(case: Path) -> None:
    TARGETS[case.parent.name](case.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_honest_inputs_and_random_changes_of_them_break_no_promise(target: str) -> None:
    dice = random.Random(f"fastws {target}")
    for seed in SEEDS[target]:
        TARGETS[target](seed)
    for _ in range(1500):
        data = bytearray(dice.choice(SEEDS[target]))
        for _ in range(dice.randrange(1, 5)):
            at = dice.randrange(len(data) + 1)
            match dice.randrange(4):
                case 0:
                    data[at : at + 1] = bytes((dice.randrange(256),))
                case 1:
                    del data[at : at + dice.randrange(8)]
                case 2:
                    data[at:at] = dice.randbytes(dice.randrange(5))
                case 3:
                    data[at:at] = data[: dice.randrange(60)]
        TARGETS[target](bytes(data[:4096]))
