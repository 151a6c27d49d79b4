"""One command for the whole loop on one machine: the embedded platform's parts under one supervisor."""
