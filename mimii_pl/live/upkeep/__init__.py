"""Keep a run up with its machine: what a person says of recordings becomes part of what is normal."""
