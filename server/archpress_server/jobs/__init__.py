"""Jobs as rows: the model, the store that callers use, and the leases that workers hold."""
