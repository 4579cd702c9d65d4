"""inbox: a mail suite in which every decision about a message is made by a plugin and can be explained."""

__version__ = "0.1.0"
