"""SITReg's checkpoints and settings."""
