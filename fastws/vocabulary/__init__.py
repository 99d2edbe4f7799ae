"""What is said: frozen, slotted values without behaviour, shared by every room."""
