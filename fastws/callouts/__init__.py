"""What we ask of others: the application's functions and HTTP callbacks, and identity providers."""
