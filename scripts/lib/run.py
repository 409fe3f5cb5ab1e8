"""Run one command from the checkout: `python run.py COMMAND [ARGUMENT…]`.

The package is found through sys.path and not through PYTHONPATH, for programs that a command starts must see the user's own. A command that
is a folder beside this file belongs to the checkout alone; its function has the folder's name.
"""

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME, ARGUMENTS = sys.argv[1], sys.argv[2:]

sys.path[0] = str(HERE.parents[1] / "addon")

if (HERE / NAME / "command.py").is_file():
    sys.path.append(str(HERE))
    getattr(importlib.import_module(f"{NAME}.command"), NAME).main(args=ARGUMENTS, prog_name=f"scripts/{NAME}")
else:
    from claude_relay.cli.main import script

    script(NAME, ARGUMENTS)
