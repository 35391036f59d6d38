"""Sayso over HTTP: the JSON API, the web chat and inbox, event streams, signed hooks, health and metrics.

Everything here translates: it finds out who asks, hands their words or their press to `core.intake`, and shows rows.
It decides nothing about tasks or approvals.
"""
