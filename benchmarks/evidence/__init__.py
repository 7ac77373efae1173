"""All systems at equal shares of images sent and at equal edge budgets, over seeds."""
