"""From an embedding to the nearest rows."""
