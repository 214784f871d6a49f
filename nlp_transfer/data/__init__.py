"""Data: from a file, a folder, the Hub or memory to three splits of checked rows, their features and batches."""
