"""Our own classes of models: a head of ours over any backbone, where transformers has none that answers so."""
