"""Container images: building, scanning, pushing, and their lock files."""
