"""What `migrate` is compared with: a service by hand, `python -m bench.control PORT FILE`. It keeps its contexts in
memory; told to end, it saves them; started with what was saved, it goes on. Pickled in one piece, as one would.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import sys
from pathlib import Path


async def serve(port: int, file: Path) -> None:
    contexts: dict[str, dict[str, object]] = pickle.loads(file.read_bytes())
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            context = contexts.setdefault(line.decode().strip(), {"count": 0})
            context["count"] = int(str(context["count"])) + 1
            writer.write(b"%d\n" % context["count"])
            await writer.drain()

    server = await asyncio.start_server(client, "127.0.0.1", port)
    await ended.wait()
    server.close()
    file.write_bytes(pickle.dumps(contexts, protocol=5))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
