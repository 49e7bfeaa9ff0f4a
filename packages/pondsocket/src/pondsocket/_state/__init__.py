"""The pure part: values in, values out. No await, no clock, no transport."""
