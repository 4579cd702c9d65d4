"""Delivery to other servers: the worker of the outbound queue, and the attempts that it makes."""
