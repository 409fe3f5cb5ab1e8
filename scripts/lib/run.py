"""Run one command from the checkout: `python run.py COMMAND [ARGUMENT…]`.

The package is found through sys.path and not through PYTHONPATH, for programs that a command starts must see the user's own.
"""

import sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path[:1] = [str(here.parents[1] / "addon"), str(here)]

from claude_relay.cli.main import script  # noqa: E402

script(sys.argv[1], sys.argv[2:])
