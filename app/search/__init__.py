"""Where reading, encoding, indexes and the library meet."""
