"""L2: ports of the database and of the blob store, and what stands behind them."""
