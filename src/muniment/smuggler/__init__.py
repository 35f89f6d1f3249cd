"""Dumps: the files that RavenDB's Smuggler writes, read without loading them and without a database."""
