"""Warnings are errors in tests, except those that mitmproxy's own dependencies give while they are imported."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mitmproxy.addons
    import mitmproxy.tools.dump
    import mitmproxy.tools.web.master  # noqa: F401
