"""Chapter 5: the portraits, drawn by our own code from a seed, with their exact labels."""
