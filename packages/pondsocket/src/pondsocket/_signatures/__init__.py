"""Typed handlers: where the parameters of a signature come from, and how it is called."""
