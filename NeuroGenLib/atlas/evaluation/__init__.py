"""How good an atlas is: tables, figures, latent codes."""
