"""Importing this module registers defended models with every host toolkit that is installed."""

from __future__ import annotations

from ansm_plugin.toolkits.run import register_all

register_all()
