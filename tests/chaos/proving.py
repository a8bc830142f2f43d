"""What the programs of this folder share: paths, folders, figures, and how a verdict is told. To be imported first."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VISITS = ROOT / "examples" / "visits"
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]

from controller.batches import quantile as quantile  # noqa: E402


@contextlib.contextmanager
def folder(name: str, keep: Path | None = None, failed: Callable[[], object] = lambda: False) -> Iterator[Path]:
    """For logs and data; removed at the end, unless it is given, or `failed` says that somebody will want to look."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    made = Path(tempfile.mkdtemp(prefix=f"liquefy-{name}-"))
    try:
        yield made
    finally:
        if failed():
            print(f"logs and data are left in {made}", flush=True)
        else:
            shutil.rmtree(made, ignore_errors=True)


def verdict(problems: Iterable[str]) -> int:
    """Tells it; the exit code."""
    told = list(problems)
    for problem in told:
        print(f"VIOLATION  {problem}", file=sys.stderr)
    print("NOT all right" if told else "all right", flush=True)
    return 1 if told else 0
