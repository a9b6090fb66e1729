"""What passes between the stages, and where it lies: handles, digests, the stage cache."""
