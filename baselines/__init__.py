"""Attribution methods that FreeMCG is compared with: one method, one file, one call."""
