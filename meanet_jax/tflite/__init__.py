"""From a run to files that a device runs: TF Lite with early exit, and edge.json beside it."""
