"""How good a model version is at the bank's questions: pure metrics, a runner, a report and its renderings."""
