"""The page and the interactive documentation."""
