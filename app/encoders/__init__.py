"""From a frame to an embedding."""
