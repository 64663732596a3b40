"""What masks, defences and changed images are worth: pure functions."""
