"""Provider facts as dated data; read with `importlib.resources`, checked on load."""
