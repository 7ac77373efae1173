"""Everything that is measured on an accelerator, in one call that may be cut off anywhere."""
