"""Where an event stream stands, and how another one goes on from there."""
