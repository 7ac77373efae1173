"""Images: where they come from, in which order they train, and how they are augmented."""
