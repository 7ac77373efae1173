"""The rules that decide where an image ends: pure functions of arrays.

The same functions run on NumPy arrays (tables, the edge runtime) and on JAX arrays (sweeps under
`vmap` and `jit`): each asks its arguments for their own array namespace. What a device needs -
policies, scores, fusion, operating points, and `online/` to move thresholds - imports NumPy and
nothing else from outside.
"""
