"""What differs from one environment to the next: the stack files, and the typed model that reads them."""
