"""A stand-in for pulumi-eks: the components this project uses, with the children the real ones make."""
