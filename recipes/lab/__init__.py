"""Scripts, results and weights of the measurements; part of the checkout, not of the package.

From the root of a checkout with the package installed, `NAME` being one of the modules here:

    PYTHONPATH=recipes python -m lab.NAME
"""
