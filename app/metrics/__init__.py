"""Rankings to figures. Plain arrays in, numbers out; nothing here knows a library or an encoder."""
