"""How well the gate keeps orders that stand in content of others from becoming effects, and how often it asks."""
