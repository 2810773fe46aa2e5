"""Tables, figures and pages: of a run, of a sweep and of a comparison."""
