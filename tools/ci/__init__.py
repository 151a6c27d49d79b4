"""What continuous integration runs beside the linters: test suites, the evaluation gate, promotion."""
