"""What one client asks for, without its socket."""
