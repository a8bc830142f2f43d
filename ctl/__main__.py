"""The command line, put together from `ctl.commands`: each file there has one command."""

from __future__ import annotations

from collections.abc import Callable

import typer

from ctl.commands import (
    compile,
    context_get,
    context_list,
    cordon,
    dead_drop,
    dead_list,
    dead_replay,
    dead_show,
    deploy,
    down,
    drain,
    events,
    explain,
    fmt,
    freeze,
    graph,
    keys_add,
    keys_init,
    keys_list,
    keys_revoke,
    logs,
    migrate,
    nodes,
    pin,
    rebalance,
    status,
    top,
    uncordon,
    undeploy,
    unfreeze,
    unpin,
    up,
)
from ctl.options import Group

PANELS: dict[str, list[Callable[..., None]]] = {
    "A cluster on this machine": [up.up, down.down],
    "From regular code": [compile.compile, fmt.fmt],
    "Services": [deploy.deploy, undeploy.undeploy, graph.graph],
    "Looking": [status.status, top.top, nodes.nodes, explain.explain, events.events, logs.logs],
    "Moving": [
        migrate.migrate, rebalance.rebalance, freeze.freeze, unfreeze.unfreeze, drain.drain, cordon.cordon,
        uncordon.uncordon, pin.pin, unpin.unpin,
    ],
}  # fmt: skip


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        cls=Group,
        name="liquefy-ctl",
        help="Start, watch and steer a Liquefy cluster.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for panel, commands in PANELS.items():
        for command in commands:
            app.command(rich_help_panel=panel)(command)
    context = typer.Typer(help="The contexts of a group.", no_args_is_help=True)
    context.command("get")(context_get.get)
    context.command("list")(context_list.list_keys)
    dead = typer.Typer(help="Messages that could not be handled.", no_args_is_help=True)
    dead.command("list")(dead_list.list_letters)
    dead.command("show")(dead_show.show)
    dead.command("replay")(dead_replay.replay)
    dead.command("drop")(dead_drop.drop)
    app.add_typer(context, name="context", rich_help_panel="State")
    app.add_typer(dead, name="dead", rich_help_panel="State")
    keys = typer.Typer(help="Who may connect, and whose code is run.", no_args_is_help=True)
    keys.command("init")(keys_init.init)
    keys.command("add")(keys_add.add)
    keys.command("revoke")(keys_revoke.revoke)
    keys.command("list")(keys_list.list_keys)
    app.add_typer(keys, name="keys", rich_help_panel="Keys")
    return app


def main() -> None:
    build()(prog_name="liquefy-ctl")


if __name__ == "__main__":
    main()
