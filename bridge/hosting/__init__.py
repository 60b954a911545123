"""Running plugins in processes of their own, and what is known about them."""
