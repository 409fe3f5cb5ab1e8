"""A person says yes: in a browser on this machine, by a code that is pasted, or on another device.

    tokens = in_browser(provider, way, paste=False, browser=True, timeout=15.0)
    tokens = on_device(provider, way, timeout=15.0)

Both print what the person has to do, wait, and raise Failure with what to do when it does not work. It must not know where tokens are kept.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import click

from claude_relay.cli.console.terminal import Failure, echo
from claude_relay.core.config import OAuth, Provider, WayOut
from claude_relay.core.oauth.authorizing import Begun, begin, begin_for_pasting, code_of, place_of
from claude_relay.core.oauth.grants import Answer, Failed, Granted, Refused, Tokens
from claude_relay.upstream.token_endpoint import NO_CLIENT, device_code, tokens_for_code, wait_for_device

from .catching import Catcher

PATIENCE = 600.0
"""Seconds in which a person may say yes."""


def in_browser(provider: Provider, way: WayOut, *, paste: bool, browser: bool, timeout: float) -> Tokens:
    """Through the provider's page. `paste`: the person brings the code; `browser`: open the page here."""
    oauth = _settings(provider)
    if not oauth.authorize_url:
        raise Failure("relay.yaml has no oauth.authorize_url for this provider; log in with --device.")
    place = place_of(oauth.redirect)
    if place is None or paste:
        begun = begin_for_pasting(oauth, os.urandom)
        _show(begun, browser=browser)
        return _granted(tokens_for_code(provider, _pasted(begun), begun, way, timeout=timeout))
    try:
        catcher = Catcher(place)
    except OSError as error:
        raise Failure(
            f"{place.at(place.port)} cannot be listened on ({error.strerror}): end the program that does, or log in with --paste."
        ) from None
    with catcher:
        begun = begin(oauth, place.at(catcher.port), os.urandom)
        _show(begun, browser=browser)
        echo("Waiting for the browser's answer; on another machine end this with Ctrl-C, and use --paste.", err=True)
        try:
            code = catcher.code(begun, PATIENCE)
        except TimeoutError:
            raise Failure("Nobody has answered in ten minutes; begin again when you are ready.") from None
        except ValueError as error:
            raise Failure(f"Nothing was added: {error}") from None
    return _granted(tokens_for_code(provider, code, begun, way, timeout=timeout))


def on_device(provider: Provider, way: WayOut, *, timeout: float) -> Tokens:
    """By a code that a person types in at another device."""
    _settings(provider)
    code = device_code(provider, way, timeout=timeout)
    if isinstance(code, Failed):
        raise Failure(f"Nothing was added: {code.reason}")
    echo(f"Open {code.url} and type in: {code.user_code}")
    if code.complete_url:
        echo(f"Or open {code.complete_url}")
    return _granted(wait_for_device(provider, code, way, timeout=timeout))


def _settings(provider: Provider) -> OAuth:
    assert provider.oauth is not None
    if not provider.oauth.client_id:
        raise Failure(f"Nothing was added: {NO_CLIENT.reason}.")
    return provider.oauth


def _show(begun: Begun, *, browser: bool) -> None:
    echo("Open this page, and say yes:")
    echo(begun.url)
    if browser:
        click.launch(begun.url)


def _pasted(begun: Begun) -> str:
    """The code that a person brings. At a terminal it may be tried again."""
    interactive = sys.stdin.isatty()
    while True:
        if interactive:
            text = click.prompt(
                "Paste the code, or the whole address that the browser shows", hide_input=True, err=True
            )
        else:
            text = sys.stdin.readline()
        try:
            return code_of(text, begun)
        except ValueError as error:
            if not interactive:
                raise Failure(f"Nothing was added: {error}") from None
            echo(f"{error}.", err=True)


def _granted(answer: Answer) -> Tokens:
    match answer:
        case Granted(tokens):
            return replace(tokens)
        case Refused(reason) | Failed(reason):
            raise Failure(f"Nothing was added: {reason}")
