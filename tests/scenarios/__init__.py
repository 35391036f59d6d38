"""Stories of people and what they see, one file each; `player` tells how a line of a story is played.

A story runs in every chat that it names on a quiet day, and in those of its `mishaps` once more for each kind of mishap,
planned on every leg at once.
"""
