"""Gateways for tests: in this process (`asking`), or as the command that a user starts (`serving`)."""
