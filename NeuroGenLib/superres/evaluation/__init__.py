"""How good a super-resolved scan is: measures, tables, figures."""
