"""Who calls, what they may do, and how often; and the certificates that they see."""
