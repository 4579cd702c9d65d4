"""L2: YAML to typed snapshots and stage plans; verdicts, scores, decision records."""
