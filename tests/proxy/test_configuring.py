"""relay.yaml, put into force whole or not at all; in a running mitmproxy: tests/wire/test_whole_or_not, test_reload."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import addonmanager, exceptions
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.tlsconfig import TlsConfig

from claude_relay.core.exchange import OAUTH, Key
from claude_relay.proxy.configuring import Configuring, without_tokens
from claude_relay.proxy.flow.hooks import RelayHooks
from claude_relay.proxy.flow.parts import Parts
from claude_relay.proxy.lifecycle.renewal import Renewal
from claude_relay.proxy.running import options
from claude_relay.proxy.watch.inspection import View
from proxy.stage import mitmproxy_with

GOOD = "providers: {%s: {format: anthropic, base_url: https://a.example, auth: x-api-key, keys: [sk-ant-one]}}\n"


class Stage:
    """One relay that reads its configuration, and nothing else."""

    def __init__(self, folder: Path, mitmproxy: Any) -> None:
        self.folder, self.options = folder, mitmproxy.options
        self.hooks = RelayHooks(Parts(View(10, 10)))
        self.configuring = Configuring(self.hooks, Renewal(self.hooks.own_tls), lambda: None)

    def read(self, name: str, text: str) -> bool:
        """Whether this is in force now."""
        path = self.folder / name
        path.write_text(text)
        self.options.relay_config = str(path)
        return self.configuring.read()

    @property
    def providers(self) -> list[str]:
        return list(self.hooks.running_runtime().config.providers)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with mitmproxy_with(Proxyserver(), TlsConfig()) as context:
        options.declare(addonmanager.Loader(context.master))
        os.mkdir(tmp_path / "mitmproxy")
        context.options.confdir = str(tmp_path / "mitmproxy")
        yield Stage(tmp_path, context)


def test_what_cannot_be_read_is_said_once_and_nothing_is_in_force(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        assert not stage.read("relay.yaml", "providers: 7")
    assert stage.hooks.runtime is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert stage.read("relay.yaml", GOOD % "one")
    assert (stage.providers, stage.configuring.path) == (["one"], stage.folder / "relay.yaml")


def test_the_file_in_force_is_not_read_again_and_another_takes_its_place(stage: Stage) -> None:
    assert stage.read("relay.yaml", GOOD % "one")
    assert not stage.read("relay.yaml", GOOD % "two")
    assert stage.providers == ["one"]
    assert stage.read("other.yaml", GOOD % "two")
    assert stage.providers == ["two"]


def test_a_broken_file_takes_nobodys_place(stage: Stage) -> None:
    assert stage.read("relay.yaml", GOOD % "one")
    runtime = stage.hooks.runtime
    with pytest.raises(exceptions.OptionsError, match=r"broken\.yaml"):
        stage.read("broken.yaml", "providers: 7")
    assert stage.hooks.runtime is runtime
    assert stage.configuring.path == stage.folder / "relay.yaml"


def test_keys_of_the_vault_are_told_of_once_the_relay_listens(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert stage.read("relay.yaml", GOOD % "one")
    key = Key("one", "v1", "sk-ant-two", "id")
    stage.configuring.issue({"one": (key,)})
    assert key in stage.hooks.running_runtime().pools["one"].keys
    assert "the vault issues" not in caplog.text
    stage.configuring.announced = True
    stage.configuring.issue({"one": (key, Key("one", "v2", "sk-ant-three", "other"))})
    assert "keys that the vault issues: 2" in caplog.text


def test_a_renewed_token_is_no_other_key() -> None:
    def of(secret: str, kind: str) -> list[Key]:
        return without_tokens({"one": (Key("one", "v1", secret, "id", kind=kind, renews=kind == OAUTH),)})

    assert of("old", OAUTH) == of("new", OAUTH)
    assert of("old", "api_key") != of("new", "api_key")
