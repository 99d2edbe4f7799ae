"""Messages inside the server: slotted dataclasses without behaviour, used by all other packages."""
