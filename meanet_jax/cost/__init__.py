"""What computing and sending cost: pure functions of numbers and jaxprs."""
