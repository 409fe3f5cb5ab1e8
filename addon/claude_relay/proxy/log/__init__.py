"""The log: `plain`, no secret and no control character in any line; `folding`, one line for many that are alike."""
