"""One module per command: flags in, a function called, status out."""
