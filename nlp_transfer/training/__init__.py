"""The training loop, its settings and its number formats; it knows no task, no data and no method."""
