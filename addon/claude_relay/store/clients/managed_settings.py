"""Files with managed settings for Claude Code, which the clients of a group get: looked at before they are named.

checked("team.json")        its absolute path; raises ValueError for what holds no settings
"""

from __future__ import annotations

import json
from pathlib import Path


def checked(name: str) -> str:
    """Once it has been read as a JSON object."""
    path = Path(name).expanduser().absolute()
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{path}: this is no JSON") from None
    if not isinstance(found, dict):
        raise ValueError(f'{path}: settings are an object, such as {{"model": "claude-sonnet-5"}}')
    return str(path)
