"""The event loop, timers, and how functions are called."""
