"""The commands of hone, one a file; each imports what it needs when it is called."""
