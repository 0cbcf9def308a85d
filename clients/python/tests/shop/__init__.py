"""A little Django site, as somebody's own: orders, and who may hear of them."""
