"""Second factors of admins: a secret that their app shares, sealed by the vault's lock, and codes that replace it once each.

    factors = SecondFactors(Path("relay.db"), os.environ)
    factors.enable(actor, "ann", "JBSW…", codes, step, but=digest)       step: of the code that proved it
    factors.secret(admin)                                                raises VaultError when it cannot be opened
    factors.use_step("ann", step), factors.use_recovery(actor, "ann", code)          True once each

It must not know how a code follows from a secret.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from claude_relay.store.audit import Act, Actor, write
from claude_relay.store.vault import fellow_secrets
from claude_relay.store.vault.vault import Vault

from .admins import Admin, AdminError, _named
from .panel_file import PanelFile


class SecondFactors:
    """Those in the database at `path`. `environ`: where the vault's secret may be."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._file, self._vault = PanelFile(path), Vault(path, environ=environ)

    def secret(self, admin: Admin) -> str:
        """What the app knows, too. Raises VaultError, AdminError."""
        found = self._vault.second_factor(admin.id)
        if found is None:
            raise AdminError(f"'{admin.name}' has no second factor")
        return found

    def enable(
        self, actor: Actor, name: str, secret: str, codes: Sequence[str], step: int, *, but: bytes = b""
    ) -> None:
        """From now on it is asked for; all sessions but one end (`but`: its digest). Raises AdminError, VaultError."""
        with self._vault.sealing() as (connection, box):
            admin = _named(connection, name)
            if admin.totp is not None:
                raise AdminError("there is a second factor already; remove it first")
            values = [fellow_secrets.seal(box, admin.id, secret), step, _stored(codes), admin.id]
            connection.execute("UPDATE admins SET totp = ?, totp_step = ?, recovery = ? WHERE id = ?", values)
            connection.execute("DELETE FROM panel_sessions WHERE admin = ? AND digest <> ?", [admin.id, but])
            write(connection, actor, Act("add-second-factor", "admin", admin.name))

    def disable(self, actor: Actor, name: str) -> None:
        """A password is enough. Raises AdminError."""
        with self._file.writing() as connection:
            admin = _named(connection, name)
            if admin.totp is None:
                raise AdminError(f"there is no second factor of '{admin.name}'")
            sql = "UPDATE admins SET totp = NULL, totp_step = 0, recovery = '[]' WHERE id = ?"
            connection.execute(sql, [admin.id])
            write(connection, actor, Act("remove-second-factor", "admin", admin.name))

    def replace_codes(self, actor: Actor, name: str, codes: Sequence[str]) -> None:
        """Those of before are worth nothing. Raises AdminError."""
        with self._file.writing() as connection:
            admin = _named(connection, name)
            if admin.totp is None:
                raise AdminError(f"there is no second factor of '{admin.name}'")
            connection.execute("UPDATE admins SET recovery = ? WHERE id = ?", [_stored(codes), admin.id])
            write(connection, actor, Act("replace-recovery-codes", "admin", admin.name))

    def use_step(self, name: str, step: int) -> bool:
        """Whether a code of this step of time, or of a later one, has not been used yet; from now on it has."""
        with self._file.writing() as connection:
            sql = "UPDATE admins SET totp_step = ? WHERE name = ? AND totp_step < ?"
            return connection.execute(sql, [step, name, step]).rowcount > 0

    def use_recovery(self, actor: Actor, name: str, code: str) -> bool:
        """Whether it was one of the codes; from now on it is none."""
        with self._file.writing() as connection:
            before = _named(connection, name)
            if (used := _digest(code)) not in before.recovery:
                return False
            left = [known for known in before.recovery if known != used]
            connection.execute("UPDATE admins SET recovery = ? WHERE id = ?", [json.dumps(left), before.id])
            write(connection, actor, Act("use-recovery-code", "admin", before.name, None, {"left": len(left)}))
            return True


def _stored(codes: Sequence[str]) -> str:
    return json.dumps([_digest(code) for code in codes])


def _digest(code: str) -> str:
    """People may type it with blanks, hyphens and capitals."""
    return hashlib.sha256(re.sub(r"[\s-]", "", code).lower().encode("utf-8", "surrogateescape")).hexdigest()
