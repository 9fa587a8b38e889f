"""Who is inside: visits opened and closed."""
