"""What continuous integration says about a stack: summaries of previews, and where they are published."""
