"""How good predicted video is: frame by frame, as a set of clips, and what it says of rewards."""
