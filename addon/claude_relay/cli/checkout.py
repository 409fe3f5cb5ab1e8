"""Commands that lie in scripts/lib, which is part of the repository and not of the installed package."""

from __future__ import annotations

import importlib

import click

from .console.terminal import Failure


def of_checkout(module: str, name: str) -> click.Command:
    """The command `name` of a module in scripts/lib. Where there is no checkout: one that says so."""
    try:
        command: click.Command = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        return _missing(name)
    return command


def _missing(name: str) -> click.Command:
    @click.command(name, context_settings={"ignore_unknown_options": True}, short_help="Needs a checkout.")
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> None:
        """Part of the repository, not of the installed package."""
        raise no_checkout()

    return command


def no_checkout() -> Failure:
    """What the running command says where there is none."""
    name = click.get_current_context().command_path
    return Failure(
        f"'{name}' needs a checkout of Claude Relay's repository: run it there. The installed package is without it."
    )
