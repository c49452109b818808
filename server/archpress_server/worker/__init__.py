"""The process that works on one job and reports through the job's row."""
