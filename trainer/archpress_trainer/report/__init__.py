"""The report: one self-contained HTML page that shows how far an embedding can be trusted."""
