"""L1: data types of mail, pure values without I/O."""
