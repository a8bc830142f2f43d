"""Load for examples/hot that falls on few partitions: heats one node, and shows how the cluster cools it.

    python examples/hot/load.py --node node1 --share 0.9 --rate 600 --ms 1
    python examples/hot/load.py --partitions 0,3,17 --share 0.9
    python examples/hot/load.py --keys alice,bob --share 0.9

`--share` of the requests go to keys of the partitions given (with `--node`: those that are on that node now,
asked from `liquefy-ctl`), or to the keys given; the others to keys everywhere. Each answer counts the
requests of its key, so lost and doubled ones are noticed. A line every two seconds shows how latency goes.
"""

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import loadclient

from liquefy.messages import partition_index

GROUP = "hot/burn"
GROUP_PARTITIONS = 32
"""As in graph.yaml."""

KEYS_PER_PARTITION = 20
LINE_EVERY_S = 2.0


def partitions_on(node):
    """Indexes of the partitions that are on the node now."""
    # liquefy-ctl of the Python in use: it need not be on PATH.
    command = [sys.executable, "-P", "-m", "ctl", "explain", GROUP, "--json"]
    try:
        output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    except subprocess.CalledProcessError as error:
        sys.exit(f"liquefy-ctl explain {GROUP}: {error.stderr.strip()}\n  or give --partitions")
    places = {int(p["partition"].rpartition("/")[2]): p["node"] for p in json.loads(output)["partitions"]}
    found = {index for index, where in places.items() if where == node}
    if not found:
        nodes = ", ".join(sorted(set(places.values())))
        sys.exit(f"no partition of {GROUP} is on {node!r}\n  remedy: use one of {nodes}")
    return found


def keys_of(partitions, prefix):
    """KEYS_PER_PARTITION keys in each of the partitions."""
    keys, wanted, number = [], dict.fromkeys(partitions, KEYS_PER_PARTITION), 0
    while wanted:
        number += 1
        key = f"{prefix}-{number}"
        index = partition_index(key, GROUP_PARTITIONS)
        if index in wanted:
            keys.append(key)
            wanted[index] -= 1
            if not wanted[index]:
                del wanted[index]
    return keys


def hot_keys(options, prefix):
    if options.keys:
        return options.keys.split(",")
    if options.node:
        return keys_of(partitions_on(options.node), prefix)
    try:
        indexes = {int(text) for text in options.partitions.split(",")}
    except ValueError:
        indexes = {-1}
    if not indexes <= set(range(GROUP_PARTITIONS)):
        sys.exit(
            f"--partitions {options.partitions}: give numbers from 0 to {GROUP_PARTITIONS - 1}, with commas"
        )
    return keys_of(indexes, prefix)


async def show(client):
    """A line now and then: requests a second, and the latency of those answered since the last line."""
    seen = 0
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        times = sorted(client.latencies_s[seen:])
        seen += len(times)
        if times:
            p50, p99 = (times[int(len(times) * q)] * 1000 for q in (0.5, 0.99))
            print(f"{len(times) / LINE_EVERY_S:7.0f}/s   p50 {p50:7.1f} ms   p99 {p99:7.1f} ms", flush=True)
        else:
            print("      0/s", flush=True)


async def main(options):
    client = loadclient.client_of(options)
    chance = random.Random(options.seed)
    prefix = client.new_key().partition("-")[0]
    hot = hot_keys(options, prefix)
    everywhere = keys_of(range(GROUP_PARTITIONS), f"{prefix}-e")
    tally = loadclient.Tally()

    async def burn(due):
        key = chance.choice(hot if chance.random() < options.share else everywhere)
        before = tally.highest(key)
        once = client.new_key() if options.idempotent else ""
        answer = await client.ask("GET", f"/burn/{key}?ms={options.ms:g}", key=once, due=due)
        tally.enter(key, "burns", before, answer)

    lines = None if options.json else asyncio.create_task(show(client))
    await loadclient.at_rate(options.rate, options.seconds, burn)
    if lines:
        lines.cancel()
    client.close()
    facts = {"hot_keys": len(hot), "burns": tally.counted, "unsure": tally.unsure.total()}
    return loadclient.report(client, tally.close(), options.json, **facts)


if __name__ == "__main__":
    parser = loadclient.arguments(__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--node", help="heat the partitions on this node")
    where.add_argument("--partitions", default="0,1,2,3", help="heat these, with commas between")
    where.add_argument("--keys", help="heat these keys, with commas between")
    parser.add_argument("--share", type=float, default=0.9, help="part of the load that is hot")
    parser.add_argument("--ms", type=float, default=1.0, help="processor time of one request")
    parser.add_argument(
        "--idempotent", action="store_true", help="send Idempotency-Key and try again until answered"
    )
    sys.exit(loadclient.run(main(parser.parse_args())))
