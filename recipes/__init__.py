"""Training stages with all their choices: localizer, ffa, mgr, two_stage, hardened."""

if __name__ != "ansm_plugin.recipes":
    raise ImportError("import ansm_plugin.recipes, not recipes: two copies would not agree.")
