"""A cluster: from nothing to the first answer, deploying, and what is missing."""
