"""Faults of the line at random places of a transfer: cuts at any byte, stalls, halves of answers, requests that arrive
twice, a proxy that answers for the destination. It completes, and both wikis are identical."""

from __future__ import annotations

import asyncio
import random
from urllib.parse import urlsplit

import pytest
from tests.fakes.fault_proxy import Answer, Cut, Duplicate, Fault, FaultProxy, Slow, Stall, Truncate
from tests.faults.small_wiki import CHUNK, RANGE, begin_anew, ends_well, fill, small_pieces
from tests.pair.instances import Pair
from tests.rounds import Rounds

REQUESTS = (
    r"PUT .*/volumes/",
    r"POST .*/attachments$",
    r"PATCH .*/attachments/",
    r"HEAD .*/attachments/",
    r"POST .*/plan$",
    r"PUT .*/transfers/[0-9a-f]*$",
    r"POST .*/verify$",
    r"POST .*/commit$",
)


def any_fault(choose: random.Random) -> Fault:
    after = choose.randrange(2 * max(RANGE, CHUNK))
    answer = choose.randrange(200)
    return choose.choice(
        (
            Cut(after),
            Cut(answer, of="response"),
            Truncate(after),
            Truncate(answer, of="response"),
            Stall(after),
            Stall(answer, of="response"),
            Slow(100_000),
            Duplicate(),
            Answer(choose.choice((502, 503, 504)), early=choose.random() < 0.5),
            Answer(413, early=choose.random() < 0.5),
        )
    )


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)


async def test_faults_at_random_places(pair: Pair, rounds: Rounds) -> None:
    fill(pair)
    choose = rounds.random("line")
    port = urlsplit(pair.url).port
    assert port is not None
    hits = again = 0
    transfers = rounds.at_most(8)
    for _ in range(transfers):
        begin_anew(pair.destination)
        async with FaultProxy(port) as proxy:
            pair.url = proxy.url
            faults = [(any_fault(choose), choose.choice(REQUESTS), choose.choice((1, 1, 2, 3, 5))) for _ in range(6)]
            planned = [proxy.plan(fault, on=on, nth=nth) for fault, on, nth in faults]
            ending = asyncio.ensure_future(_release(proxy))
            try:
                again += await ends_well(pair, await pair.key(), faults)
            finally:
                ending.cancel()
            hits += sum(one.hits for one in planned)
    rounds.told.append(f"line: {hits} faults in {transfers} transfers, {again} times asked to go on")
    assert hits


async def _release(proxy: FaultProxy) -> None:
    """What stands still is cut a little later."""
    while True:
        await asyncio.sleep(0.1)
        proxy.release()
