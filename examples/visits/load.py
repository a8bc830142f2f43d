"""Load for examples/visits, and the check that no visit is lost, doubled or out of order.

    python examples/visits/load.py --rate 500 --seconds 30 --users 1000 --skew 0.9 [--idempotent]

Every request is a visit of one user, and its answer says how many there were. So the answers of each user
must be 1, 2, 3 ... n, each once; and a request that started after an answer arrived must get a higher number.
With `--idempotent` each request is tried again until it is answered, through kills and restarts, and must
count once all the same. Without it, a request that got no answer may or may not have counted: as many numbers
may be missing.
"""

import random
import sys
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import loadclient


async def main(options):
    client = loadclient.client_of(options)
    chance = random.Random(options.seed)
    run = client.new_key().partition("-")[0]
    users = [f"{options.prefix or run}-{i}" for i in range(options.users)]
    weights = list(accumulate((i + 1) ** -options.skew for i in range(options.users)))
    tally = loadclient.Tally()

    async def visit(due):
        (user,) = chance.choices(users, cum_weights=weights)
        before = tally.highest(user)
        key = client.new_key() if options.idempotent else ""
        tally.enter(user, "visits", before, await client.ask("GET", f"/{user}", key=key, due=due))

    await loadclient.at_rate(options.rate, options.seconds, visit)
    client.close()
    facts = {"users": tally.keys, "visits": tally.counted, "unsure": tally.unsure.total()}
    return loadclient.report(client, tally.close(), options.json, **facts)


if __name__ == "__main__":
    parser = loadclient.arguments(__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--skew", type=float, default=0.0, help="exponent of Zipf's law; 0: all users alike")
    parser.add_argument("--prefix", help="of the users' names; they must be new [made up for each run]")
    parser.add_argument(
        "--idempotent", action="store_true", help="send Idempotency-Key and try again until answered"
    )
    sys.exit(loadclient.run(main(parser.parse_args())))
