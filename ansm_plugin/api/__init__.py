"""One call in Python for each thing that the command line does; see `ansm_plugin.attack` and on."""
