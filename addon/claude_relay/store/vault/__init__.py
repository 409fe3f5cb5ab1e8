"""Keys, sealed.

vault        what may be told of keys, and `issue`, the one way by which they come out
records      what goes in and what is shown; rows, sealed_rows: as rows; file: the file
reading      keys from texts: lines, CSV, JSON; new_keys: what comes of them, those of other gateways, too
filtering    which keys are meant
fellow_secrets  secrets that no request uses: second factors of the panel's admins; admin_keys: those of the owner, for reports
named_proxies  outbound proxies with a name, to which keys refer; proxy_rows: as rows
accounts     OAuth accounts, whose access tokens are keys; renewing: their next tokens; account_rows: as rows
acts         what is done to keys, in the audit log
copying      the vault of one database into another
lock         which secret opens it; secret: where that is kept; sealing: how texts are sealed

It must not know who uses a key.
"""
