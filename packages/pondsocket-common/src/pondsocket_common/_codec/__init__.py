"""The wire formats: messages to text and back."""
