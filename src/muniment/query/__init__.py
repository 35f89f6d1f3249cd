"""Finding documents: what a query is, how values compare, and RavenDB's query language. No engine is named here."""
