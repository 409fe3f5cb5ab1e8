"""What commands share: `terminal`, tables (`screen`), options (`common`), what `running` relays say, `ports`; `taking_back`: undoing."""
