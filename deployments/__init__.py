"""What puts the flows onto servers and workers."""
