"""The commands behind scripts/, one module each; `main` lists them and imports a module only when its command runs.

The commands read configuration and database through `core` and `store`. mitmproxy is started as the program it is (`common`), never
imported: its only importer is `proxy`.
"""
