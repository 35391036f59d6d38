"""Measurements: ratios to the machine's limit and to other systems in the same run. `bench.engine` is the command;
nothing in core, bot or worker imports this."""
