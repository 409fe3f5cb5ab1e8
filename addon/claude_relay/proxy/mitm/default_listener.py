"""mitmproxy's default listener, which the relay's own replace: its failure is kept out of the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mitmproxy import ctx
from mitmproxy.log import ALERT

logger = logging.getLogger(__name__)


class DefaultListenerFilter(logging.Filter):
    """mitmproxy binds its default port while the script is loaded. The relay's listeners replace it, so its failure is no error."""

    LOGGER = "mitmproxy.addons.proxyserver"
    replaced = False
    """Whether the modes are the relay's by now. Even then mitmproxy may still be trying the default port."""
    dropped = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the complaint about a listener that nobody asked for."""
        message = record.getMessage()
        if "failed to listen on *:" in message and (self.replaced or not ctx.options.has_changed("mode")):
            self.dropped = True
            return False
        # Stopping the listener that never came up is reported once more, as an error without words.
        return bool(message) or not self.dropped

    def install(self) -> None:
        """Begin to filter. What mitmproxy has complained of before is forgotten, or it would end for it."""
        logging.getLogger(self.LOGGER).addFilter(self)
        check = ctx.master.addons.get("errorcheck")
        if check is not None:
            errors = check.logger.has_errored
            errors[:] = [record for record in errors if self.filter(record)]
            if self.dropped:
                logger.log(ALERT, "That does not matter: the relay listens where its configuration says.")

    async def replace(self, modes: Sequence[str]) -> bool:
        """Listen as the relay's configuration says, unless the user named modes. False when that is not possible everywhere."""
        proxyserver = ctx.master.addons.get("proxyserver")
        if not ctx.options.has_changed("mode"):
            self.replaced = True
            ctx.options.update(mode=list(modes))
        await proxyserver.setup_servers()  # waits for the update that the option began
        self.remove()
        return all(server.is_running for server in proxyserver.servers)

    def remove(self) -> None:
        """Stop filtering."""
        logging.getLogger(self.LOGGER).removeFilter(self)
