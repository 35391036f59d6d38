"""Every SQL statement of Sayso that is not a migration, one module per noun.

Functions take a pool or a connection and return rows as values of `core.models` or plain dicts. They decide nothing:
which state follows is chosen in `core.state` and applied by the functions in `migrations/`.
"""
