"""What the fast lane is made of; only `fastlane` imports it."""
