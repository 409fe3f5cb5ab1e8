"""Recorded requests and answers, for others to read: without credentials and identities and, on request, without texts.

redactor     one export: what is known of secrets, and each exchange without them (Exchange)
shapes       what looks like a credential, in whatever form, and what names a person or an account
naming_them  names of header fields, parameters and members: which hold credentials, and which hold none
members      JSON: what of it is a credential by its name, and what names somebody
payloads     a body of any kind: packed, JSON, a stream of events, broken
blanks       texts, replaced by others of the same length class; what of a body is none
archive      exchanges as a HAR; scripted: as a shell script with curl

It must not know flows, files, or who asked for them.
"""
