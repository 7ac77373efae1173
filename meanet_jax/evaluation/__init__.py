"""Evaluation: records of every exit, systems on the test split, pictures and report."""
