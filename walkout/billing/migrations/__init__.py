"""How books of an older version become books of this one; run by ``walkout.billing.database.open_books``."""
