"""Public data sets: one module a data set, splits that no patient crosses, and the check of a user's copy."""
