"""`tandem teleop`: an operator drives the arm by hand, through the same seat as the policy."""
