"""Evaluations to look at: table, page, plots and panels."""
