"""What a channel keeps, and how a member recovers what it missed."""
