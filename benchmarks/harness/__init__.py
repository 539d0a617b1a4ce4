"""What the programs of this folder share.  Standard library only: any Python from 3.10 on can drive them."""
