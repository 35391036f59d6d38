"""Slack: signed HTTP or Socket Mode in, Block Kit out. `adapter.SlackAdapter` is its only door."""
