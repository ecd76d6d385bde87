"""Amazon EKS as its own API describes it: the part of AWS that moto has only in outline."""
