"""The commands of `ansm`, one module each: `run` takes the options that `ansm_plugin.cli` read."""
