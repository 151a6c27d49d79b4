"""What continuous integration runs besides the linters: test suites, the evaluation gate, promotion."""
