"""What people look at: videos, strips of frames, learning curves."""
