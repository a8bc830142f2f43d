"""`liquefy-ctl up` with stand-ins for the roles: fake_up.py STATE [APP]"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ctl import local, record, render, running
from liquefy.errors import LiquefyError

state, *app = sys.argv[1:]
os.environ["FAKE_STATE"] = state
script = str(Path(__file__).with_name("fake_role.py"))
roles = {kind: [sys.executable, script, kind] for kind in ("broker", "controller", "worker", "gateway")}
# Other ports than a person's own cluster has, and others than those of a test beside this one.
base = int(os.environ["FAKE_PORT"])
local.BROKER_PORT, local.CONTROLLER_PORT, local.REDIS_PORT, local.HTTP_PORT = range(base, base + 4)
roles["redis"] = [sys.executable, script, "redis", f"--port={base + 2}"]
ready_s = float(os.environ.get("FAKE_READY_S", running.READY_S))
options = running.Options(Path(state), Path(app[0]) if app else None, roles=roles, ready_s=ready_s)
try:
    code = running.run(options, render.console())
except LiquefyError as error:
    sys.exit(f"error: {error}")
if code:
    failed = record.read(Path(state))
    print(failed.problem if failed else "", file=sys.stderr)
sys.exit(code)
