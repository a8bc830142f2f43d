"""Starts a gateway: `liquefy-gateway`, or `python -P -m gateway`."""

from __future__ import annotations

from gateway.service import serve
from liquefy import running
from liquefy.config import GatewayConfig


def main() -> None:
    running.run(GatewayConfig, serve)


if __name__ == "__main__":
    main()
