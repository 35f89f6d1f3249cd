"""RavenDB 3.x's protocol: what server and client say to each other, spelled once for both."""
