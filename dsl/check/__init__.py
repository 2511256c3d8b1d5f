"""The checker: syntax tree to typed program."""
