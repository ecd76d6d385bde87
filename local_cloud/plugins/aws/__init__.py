"""A stand-in for pulumi-aws: the resource types this project uses, over whatever AWS endpoint is configured."""
