"""L1: the nouns of mail, pure values without I/O."""
