"""Test double of photoholmes 223762c: the signatures that we use or are called by, in own words."""
