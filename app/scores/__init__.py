"""Two canvases to a number."""
