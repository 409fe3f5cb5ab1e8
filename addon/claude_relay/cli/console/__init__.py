"""What commands share.

terminal      how they print: lines, JSON, CSV, errors; screen: tables; width: how wide these may be
output        what the standard output can take; ends quietly when nobody reads it
common        the configuration and its database, as options and as a `Source`; becoming mitmproxy
naming        the help texts name commands as they are called here
when          moments in options
acting        who gives a command, for the audit log
grid          tables as far as there is room; foreign_files: those of other programs
ports         who listens where; running: what running relays say
taking_back   a shell's variables as they were before
"""
