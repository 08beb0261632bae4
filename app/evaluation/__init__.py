"""How well a library retrieves its own labels."""
