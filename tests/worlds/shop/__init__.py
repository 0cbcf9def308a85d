"""A shop's backend in Django, as teams have it that push with high-templar."""
