"""The web page of `softgate serve`, which shows the poses in an image that a visitor sends."""
