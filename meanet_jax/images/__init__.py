"""From image files to a network's pixels: the same on a training machine and on a device."""
