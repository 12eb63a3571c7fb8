"""A key that a service gets and no model sees, although both do their best to show it.

    python -m examples.secrets.demo

The key lies in a file that BILLING_API_KEY_FILE names. The service repeats every header that it was sent; the model
repeats what the service said. Everything is on this machine, the model is a file of rules, and the fleet is a copy that
goes away. Exits with 1 unless the service had the key and nothing else holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from ostinato.app import FleetApp
from ostinato.cli.client import Client
from ostinato.gateway import secrets_api, tasks_api
from ostinato.gateway.log_lines import LogLines
from ostinato.gateway.operation import Nothing

HERE = Path(__file__).parent / "fleet"
KEY = "billing-Key-0b5e77d1"
WAIT_S = 60.0


def main() -> int:
    """Plays the story in a copy of the fleet."""
    with tempfile.TemporaryDirectory(prefix="ostinato-secrets-") as made:
        folder = Path(made)
        shutil.copytree(HERE, folder / "fleet")
        (folder / "key").write_text(f"{KEY}\n")
        (folder / "key").chmod(0o600)
        os.environ["BILLING_API_KEY_FILE"] = str(folder / "key")
        os.environ["XDG_CONFIG_HOME"] = str(folder / "keyring")
        return asyncio.run(play(folder / "fleet"))


async def play(fleet: Path) -> int:
    """From the service's start to a look at every file that is left."""
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            body = f"invoice 7 is 120 EUR, and you said {heads[-1]}".encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()

    service = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with service:
        port = service.sockets[0].getsockname()[1]
        for file in ("model.yaml", "agents/billing/TOOLS.md"):
            path = fleet / file
            path.write_text(path.read_text().replace("PORT", str(port)))
        log = io.StringIO()
        result = await _asked(FleetApp(fleet, log=LogLines(log)), Client(fleet))
    print(f"the service got the key: {'yes' if KEY in ''.join(heads) else 'no'}")
    print(next(line for line in result.splitlines() if line.startswith("Authorization")))
    left, holding = await asyncio.to_thread(_searched, fleet)
    print(
        f"files of the fleet that hold it: {len(holding)} of {len(left)}; lines of the log: {log.getvalue().count(KEY)}"
    )
    return 0 if heads and KEY in heads[0] and not holding and KEY not in log.getvalue() + result else 1


def _searched(fleet: Path) -> tuple[list[Path], list[Path]]:
    """Every file of the fleet, and those that hold the key."""
    left = [path for path in fleet.rglob("*") if path.is_file()]
    return left, [path for path in left if KEY.encode() in path.read_bytes()]


async def _asked(app: FleetApp, client: Client) -> str:
    """The agent's own words about what the service said."""
    await app.start()
    try:
        async with asyncio.timeout(WAIT_S):
            for each in (await asyncio.to_thread(client.call, secrets_api.list_secrets, Nothing())).secrets:
                print(f"{each.name}: from the {each.source}, for {', '.join(each.users)}")
            new = tasks_api.AddTask(title="Look up invoice 7", agent="billing")
            task = await asyncio.to_thread(client.call, tasks_api.add, new)
            assert app.node is not None
            await app.node.completions.wait(int(task.id[1:]))
            shown = await asyncio.to_thread(client.call, tasks_api.show, tasks_api.WhichTask(task=task.id))
            return str(shown.result)
    finally:
        await app.stop()


if __name__ == "__main__":
    sys.exit(main())
