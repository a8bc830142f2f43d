"""`liquefy-worker`: one node."""

from __future__ import annotations

import asyncio

from liquefy import running
from liquefy.config import WorkerConfig
from worker.service import Service


async def serve(config: WorkerConfig, stop: asyncio.Event) -> None:
    await Service(config, stop).run()


def main() -> None:
    running.run(WorkerConfig, serve)


if __name__ == "__main__":
    main()
