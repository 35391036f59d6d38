"""The shared heart: pure decisions and the rows they become. Knows neither `bot` nor `worker`."""

__version__ = "0.1.0"
