"""What people look at: tables and the report of a run."""
