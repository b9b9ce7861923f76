"""From lyrics and a reference clip to a song."""
