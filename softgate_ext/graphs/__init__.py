"""What conversion and folding share: forwards as graphs, and the memory that their steps write."""
