"""Where revisions are kept. `base` states what a storage promises; `sqlite` is the embedded engine."""
