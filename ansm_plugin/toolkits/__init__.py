"""Host toolkits: IMDLBenCo, ForensicHub and photoholmes, unchanged, with defended models."""
