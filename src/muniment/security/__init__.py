"""Who may do what, and secrets that stay secret."""
