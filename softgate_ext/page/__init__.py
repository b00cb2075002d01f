"""A page that shows the pose in a picture: what it takes, what it shows, how it is served."""
