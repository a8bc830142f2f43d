"""`liquefy-broker`: delivers messages between gateways, workers and controllers."""

from broker.service import serve
from liquefy import running
from liquefy.config import BrokerConfig


def main() -> None:
    """Run the broker until SIGTERM or SIGINT."""
    running.run(BrokerConfig, serve)


if __name__ == "__main__":
    main()
