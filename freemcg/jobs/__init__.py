"""A folder of pictures over processes: what is done, what is missing, what it costs."""
