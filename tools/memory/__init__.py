"""What, where and when: the kitchen's task, who plays it, who judges it, who learns it."""
