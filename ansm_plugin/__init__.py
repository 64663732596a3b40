"""A drop-in defence of forgery localizers against adversarial noise."""
