"""What all packages share: the contract between them, and clients that several need. Imports no other package."""
