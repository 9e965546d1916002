"""Model versions as resources: rows of the database, proven in a process of their own before anyone relies on them."""
