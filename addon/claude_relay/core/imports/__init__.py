"""What other gateways' exports say: clients with their limits, and credentials of providers.

found                  what is found in one: clients, groups, credentials, and what of it cannot be taken over
loose                  values as such files have them: numbers, times, lists, flags
decoding               bytes as a document: JSON, YAML, CSV
gateways               name of a gateway → its module
own                    what `scripts/clients export` writes
claude_relay_service, litellm, cliproxyapi, new_api    one module a gateway: `clients` and `credentials` of a document

Pure: documents in, values out. It must not know the database, nor which providers there are. Keys of another gateway's clients are taken
over by none of them: they were not made here, so nobody knows who has seen them.
"""
