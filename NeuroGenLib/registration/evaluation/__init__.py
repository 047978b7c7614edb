"""How good a registration is: measures, tables, figures."""
