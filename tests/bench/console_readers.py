"""Readers of the console, a process of their own: a line of JSON says what to ask, a line answers how long it took."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Mapping
from typing import Any

import httpx


async def read(told: Mapping[str, Any]) -> dict[str, list[float]]:
    """Ask as all readers at once; every one asks every page `each` times, in an order of its own."""
    times: dict[str, list[float]] = {page["name"]: [] for page in told["pages"]}
    limits = httpx.Limits(max_connections=told["readers"])
    async with httpx.AsyncClient(base_url=told["url"], limits=limits, timeout=120) as client:

        async def reader(number: int) -> None:
            order = random.Random(number)
            pages = [page for page in told["pages"] for _ in range(told["each"])]
            order.shuffle(pages)
            for page in pages:
                if told["pause_s"]:
                    await asyncio.sleep(order.uniform(0, 2 * told["pause_s"]))
                headers = {"cookie": f"_token={told['login'][page['user']]}", "accept": page["accept"]}
                began = time.perf_counter()
                answer = await client.get(page["under"] + order.choice(page["paths"]), headers=headers)
                times[page["name"]].append((time.perf_counter() - began) * 1000)
                if answer.status_code == 503:
                    print(f"{page['name']}: busy, 503", file=sys.stderr)  # its time counts as an answer's
                elif answer.status_code != 200:
                    raise RuntimeError(f"{page['name']} answered {answer.status_code}: {answer.text[:300]}")

        await asyncio.gather(*(reader(number) for number in range(told["readers"])))
    return times


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(asyncio.run(read(json.loads(line)))), flush=True)
