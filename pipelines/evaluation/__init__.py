"""How good a model version is at the bank's questions: pure metrics, a runner, a table, a diagram."""
