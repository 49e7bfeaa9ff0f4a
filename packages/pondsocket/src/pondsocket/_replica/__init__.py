"""What this node knows of the state that the engine keeps, and what it has put there. Pure."""
