"""The conditional atlas: a decoder of brains by age and condition."""
