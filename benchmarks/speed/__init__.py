"""How long the parts take: each guards a figure of the documentation."""
