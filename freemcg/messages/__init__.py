"""What a user is told: lines, refusals, exit statuses."""
