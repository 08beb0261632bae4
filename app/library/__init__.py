"""The truth: references, their labels, frames and vectors."""
