"""Messages to the user: lines, refusals, exit statuses."""
