"""Where revisions are kept. `base` says what a storage promises; `sqlite` is the embedded engine."""
