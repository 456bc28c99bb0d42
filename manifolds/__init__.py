"""What a tangent space is, and where one can be had."""
