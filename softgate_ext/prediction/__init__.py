"""People in pictures, videos and before cameras."""
