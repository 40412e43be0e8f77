"""Tests. A package, so that a dependency which installs a package of this name cannot hide it."""
