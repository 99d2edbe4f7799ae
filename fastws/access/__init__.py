"""Who may do what: tokens, permissions, revocations, keys and rates."""
