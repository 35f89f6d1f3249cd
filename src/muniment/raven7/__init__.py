"""The protocol of RavenDB 4 and later, where RavenDB 3's differs: names, change vectors, documents, messages."""
