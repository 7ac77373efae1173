"""The rules that decide where an image ends: pure functions of arrays.

The same functions run on NumPy arrays (tables, the edge runtime) and on JAX arrays (sweeps under
`vmap` and `jit`): each asks its arguments for their own array namespace. What a device needs -
`policies.py`, `scores.py`, `classes.py`, and to move thresholds online `levels.py`, `budget.py`,
`bandit.py` and `audit.py` - imports NumPy and nothing else from outside.
"""
