"""Databases over HTTP, in RavenDB 3.x's words. It holds no logic that the library lacks."""
