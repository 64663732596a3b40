"""The commands of `ansm`, one module each: OPTIONS, and `run`, which takes them.

These modules import nothing heavy, so that help answers at once; what `run` needs it imports.
"""
