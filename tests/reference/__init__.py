"""Our encoders beside their authors' own code; ``make test-reference`` runs these."""
