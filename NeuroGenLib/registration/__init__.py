"""Registration: symmetric, inverse consistent, without folds (SITReg)."""
