"""dead_letters: keeps events that no function could use, until somebody replays or discards them."""
