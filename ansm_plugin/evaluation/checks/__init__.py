"""Reasons to distrust an evaluation."""
