"""Drawing the sample data sets."""
