"""The embedded engine: one SQLite database in a folder, one writer, any number of readers."""
