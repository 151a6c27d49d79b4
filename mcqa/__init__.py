"""The console command: serve a model version, ask it, evaluate it."""
