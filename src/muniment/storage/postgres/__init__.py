"""PostgreSQL as an engine: a schema of its own for each database, in one that others may use too."""
