"""Every field of an experiment: the schema, and how files and flags become it."""
