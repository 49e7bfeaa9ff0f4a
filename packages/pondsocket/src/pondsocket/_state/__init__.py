"""Pure state: values in, values out. No await, no clock, no transport."""
