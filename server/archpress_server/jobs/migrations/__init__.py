"""The schema's history: each revision in `versions` changes the one before."""
