"""Tables, figures and HTML reports of what evaluation returned."""
