"""The test kit: clients of an app in memory, with asserts that need no sleep."""
