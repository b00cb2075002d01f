"""Finding the joints of people in images, videos and camera frames."""
