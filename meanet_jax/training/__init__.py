"""Training: pure steps, their mapping over devices, one loop, and the stages in order."""
