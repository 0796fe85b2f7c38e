"""The tests of the site's rules."""
