"""The retry formula around any function."""
