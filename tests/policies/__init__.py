"""What rendered policies of the clouds allow, by the clouds' documented rules."""
