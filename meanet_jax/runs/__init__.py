"""All that touches the disk of a run."""
