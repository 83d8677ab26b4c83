"""Fork the Python processes of jobs from one that has imported everything already."""
