"""What answers clients of RavenDB 4 and later: other words for what the handlers beside this package do."""
