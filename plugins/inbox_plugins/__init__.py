"""The shipped plugins, one readable file each."""
