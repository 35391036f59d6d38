"""Measurements: ratios to the machine's limit in the same run, never part of the tests."""
