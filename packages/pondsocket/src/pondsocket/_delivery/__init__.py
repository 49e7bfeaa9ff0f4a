"""Frames on their way to many recipients, or to one."""
