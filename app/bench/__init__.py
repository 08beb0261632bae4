"""Timing tables of the parts that decide how fast the service is."""
