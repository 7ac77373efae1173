"""Which operating point to take: sweeps, exact curves, guarantees, calibration, baselines."""
