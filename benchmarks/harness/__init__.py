"""What the four programs of this folder share.  Standard library only, so that any Python 3.10+ can drive them."""
