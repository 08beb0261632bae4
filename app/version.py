"""Which software this is and what it is for."""

from importlib.metadata import version

VERSION = version("sonoseek")
PURPOSE = "Research, annotation support and teaching: finds library images that look similar. Not a diagnosis."
