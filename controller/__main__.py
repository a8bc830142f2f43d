"""`liquefy-controller`: watches the load, places, migrates, heals; answers liquefy-ctl."""

from controller.service import serve
from liquefy import running
from liquefy.config import ControllerConfig


def main() -> None:
    """Run the controller until SIGTERM or SIGINT."""
    running.run(ControllerConfig, serve)


if __name__ == "__main__":
    main()
