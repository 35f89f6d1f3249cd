"""What answers each route: a request is read, the library is called, an answer is written."""
