"""Training one network: recipes as data, one loop for labels and for the final net."""
