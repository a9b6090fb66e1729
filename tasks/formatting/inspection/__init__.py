"""What formatted data hold, for people to look at before they train."""
