"""From raw scores to metrics, means over trials and tests."""
