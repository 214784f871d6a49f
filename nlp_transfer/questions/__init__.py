"""Questions about contexts: true answers as files write them, windows, the best spans, SQuAD's scores."""
