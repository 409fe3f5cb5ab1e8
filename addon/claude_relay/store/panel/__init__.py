"""Who may use the panel: admins and their passwords, second factors, sessions, tokens of the API.

    admins      admins, one-time links
    second_factors  what an app shows, recovery codes
    failures    tries to sign in that were not right
    sessions    cookies
    api_tokens  what programs come with
    panel_file  the database as these use it

All of it is for any thread, opens the file anew, and raises StoreError. What this room must not know: HTTP, and how a password is hashed.
"""
