"""The bodies of the HTTP contract, and how answers become them."""
