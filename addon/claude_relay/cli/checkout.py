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
        raise Failure(
            f"'{name}' needs a checkout of Claude Relay's repository: run its scripts there. The installed package is without it."
        )

    return command
