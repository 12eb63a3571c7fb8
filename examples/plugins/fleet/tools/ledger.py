"""Books a purchase: what an agent does that needs no model."""

from __future__ import annotations

import re

from ostinato import Call, Context, Refused, agent


@agent()
async def book(context: Context) -> str:
    """Each step is done once, however often the function is run again."""
    found = re.match(r"(\d+) (chair|desk)s", context.goal)
    if found is None:
        raise Refused("There is nothing here that could be booked.")
    count, item = int(found[1]), found[2]
    price = await context.call("prices.quote", item=item, count=count)
    entry = await context.once("entry", take_a_number, effect="idempotent")
    line = f"{count} {item}s, {price}, as entry {entry}"
    await context.call("files.write", path="book.txt", text=f"{line}\n")
    return line


def take_a_number(call: Call) -> int:
    """In the place of a service that knows numbers by their key: the same key gets the same number."""
    return 7 if call.key else 0
