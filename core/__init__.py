"""The shared heart: pure decisions and the rows they become. Knows neither `bot` nor `worker`."""
