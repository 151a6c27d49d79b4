"""dead_letters: keeps what no function could use, until somebody replays or discards it."""
