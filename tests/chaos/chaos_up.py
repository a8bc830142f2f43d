"""`liquefy-ctl up` with each role behind proxies (`proxied.py`): chaos_up.py STATE APP NODES CONTROLLERS GATEWAYS
BROKERS SYNC REDIS, where REDIS "" has one started, and several addresses are those of a primary and its replicas."""

from __future__ import annotations

import sys
from pathlib import Path

from ctl import local, render, running

PROXIED = str(Path(__file__).with_name("proxied.py"))
STARTED = [sys.executable, "-I", "-S", PROXIED]
READY_S = 180.0


def main() -> int:
    state, app, *numbers, sync, redis = sys.argv[1:]
    made = local.redis_command
    local.redis_command = lambda data, *rest: [*STARTED, "redis", str(data), *made(data, *rest)]
    options = running.Options(
        Path(state),
        Path(app),
        local.Size(*map(int, numbers)),
        redis,
        follow=False,
        ready_s=READY_S,
        roles={kind: [*STARTED, kind] for kind in ("broker", "controller", "worker", "gateway")},
        redis_sync=sync,
        durability="replicated" if "," in redis else "memory",
    )
    return running.run(options, render.console())


if __name__ == "__main__":
    sys.exit(main())
