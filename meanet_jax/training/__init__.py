"""Training: pure steps, their mapping over devices, one loop, and the four stages in order."""
