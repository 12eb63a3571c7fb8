"""The support inbox example: a fleet, a day's mail, and a demonstration that tells the day."""
