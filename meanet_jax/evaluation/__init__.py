"""Evaluation: records of every exit, systems and operating points. It computes and returns."""
