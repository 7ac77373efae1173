"""Grids: many trainings in one program, each of which leaves an ordinary run."""
