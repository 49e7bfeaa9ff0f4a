"""This node among others: what they tell each other, and what of it members here get."""
