"""Files with managed settings for Claude Code.

    files = SettingsFiles()
    found = files.read(folder, "team.json")        in a thread; read again only when the file has changed

The checksum is SHA-256 of the settings as JSON with sorted keys and without spaces. It must not know who gets them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

logger = logging.getLogger(__name__)
LARGEST: Final = 1024 * 1024
"""Bytes of a file with settings."""
MOST: Final = 256
"""Files that are remembered."""


class SettingsError(Exception):
    """A file that holds no settings; the text says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A policy. `checksum`: as it stands in the answer."""

    settings: dict[str, Any]
    checksum: str


class SettingsFiles:
    """Files that were read, each as long as it stays what it was. For any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: OrderedDict[Path, tuple[tuple[int, int, int], Settings]] = OrderedDict()
        self._said: set[str] = set()

    def read(self, folder: Path, name: str) -> Settings:
        """What is in the file. `folder`: where a name that is no absolute path begins. Raises SettingsError."""
        path = folder / name
        try:
            path = folder / Path(name).expanduser()
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            with self._guard:
                known = self._known.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            if found.st_size > LARGEST:
                raise SettingsError(f"{path}: it is larger than {LARGEST} bytes")
            document = json.loads(path.read_bytes())
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror or error}") from None
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{path}: this is no JSON: {error}") from None
        except RuntimeError as error:  # `~` of nobody
            raise SettingsError(f"{path}: {error}") from None
        if not isinstance(document, dict):
            raise SettingsError(f"{path}: settings are a JSON object")
        settings = Settings(document, checksum(document))
        with self._guard:
            self._known[path] = (stamp, settings)
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        return settings

    def complain(self, error: SettingsError) -> None:
        """Say what is wrong with a file, once."""
        if str(error) not in self._said and len(self._said) < MOST:
            self._said.add(str(error))
            logger.warning("managed settings: %s", error)


def checksum(settings: dict[str, Any]) -> str:
    """As Claude Code computes it."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
