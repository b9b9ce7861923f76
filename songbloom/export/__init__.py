"""What leaves the project: models and songs, each with what made it."""
