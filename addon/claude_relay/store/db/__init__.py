"""The file.

database       opens it, for writing (private, WAL) and for reading; folders: made for this user alone; kept: readers that go from one
               to the next
migrations     brings its tables up to date, whoever starts first (rollups and the modules of tables: what has rules of its
               own: shared_tables, client_tables, panel_tables, notice_tables, account_tables, reconciliation_tables,
               proxy_tables)
database_file  as those use it who open it anew for each act
watch          whether anybody changed something
sink           what the writers' sinks share
soundness      whether a file can be used as it is
upkeep         what is old leaves, and the room goes back
backup         a copy of one moment; replacing: a file that takes another's place at once

It must not know what rows mean.
"""
