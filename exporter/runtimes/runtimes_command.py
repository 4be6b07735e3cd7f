"""The commands `temport runtimes list|install|remove`."""

from __future__ import annotations

from typing import Annotated

import typer

runtimes = typer.Typer(
    help="Runtimes that temport does not depend on, each with packages of its own.", no_args_is_help=True
)
Names = Annotated[list[str], typer.Argument(help="Such as tract; `temport runtimes list` names them.")]


@runtimes.command("list")
def list_installed() -> None:
    """Say of each what it consists of, and whether it is here."""
    from temport.exporter.runtimes.environments import ENVIRONMENTS

    for environment in ENVIRONMENTS.values():
        here = "not installed" if environment.missing() else "installed"
        typer.echo(f"{environment.name}: {here}; {' '.join(environment.pins)}")


@runtimes.command()
def install(names: Names) -> None:
    """Install the packages of runtimes into folders of their own; this Python gets none of them."""
    from temport.exporter.runtimes.environments import environment_named

    for environment in [environment_named(name) for name in names]:
        environment.install()
        typer.echo(f"{environment.name}: {environment.folder}")


@runtimes.command()
def remove(names: Names) -> None:
    """Remove what `install` made."""
    from temport.exporter.runtimes.environments import environment_named

    for environment in [environment_named(name) for name in names]:
        typer.echo(f"{environment.name}: {'removed' if environment.remove() else 'there was nothing'}")
