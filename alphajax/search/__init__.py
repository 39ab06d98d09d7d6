"""Tree search, replay and losses."""
