"""Localizer families (how to talk to timm, SMP and plain models), and localizers by name."""

if __name__ != "ansm_plugin.backbones":
    raise ImportError("import ansm_plugin.backbones, not backbones: two copies would not agree.")
