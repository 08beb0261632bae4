"""From image bytes to a de-identified frame."""
